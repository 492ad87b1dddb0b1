"""Overrides of a judge that has models to choose from and nothing else to set."""

from __future__ import annotations

from app.contracts import LLMConfigOverrides
from app.errors import InvalidRequest


def require_model(overrides: LLMConfigOverrides, *, provider: str, models: tuple[str, ...]) -> None:
    """Refuse every override but the judge's own provider and models.

    :raises InvalidRequest: it names each field that cannot be honoured.
    """
    errors: list[tuple[str, str]] = []
    for name, value in overrides:
        field = f"llm_config_overrides.{name}"
        if value is None:
            continue
        if name == "provider":
            if value != provider:
                errors.append((field, f"this judge is {provider!r}"))
        elif name == "model":
            if value not in models:
                errors.append((field, f"unknown; known are {', '.join(models)}"))
        else:
            errors.append((field, f"the judge {provider!r} has no such setting"))
    if errors:
        detail = "; ".join(f"{field}: {fault}" for field, fault in errors)
        raise InvalidRequest(detail, errors=tuple(errors))
