"""From the overrides of a request to what a model is asked with: each is honoured, or the request is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.contracts import LLMConfigOverrides
from app.errors import InvalidRequest
from app.provider.judges.llm.model import Effort, Model
from app.provider.judges.llm.wire import BUDGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model and how it is asked; see `Ask`."""

    model: Model
    answer_tokens: int
    temperature: float | None
    effort: Effort | None


def choose(
    overrides: LLMConfigOverrides,
    *,
    provider: str,
    models: Mapping[str, Model],
    default: Model,
    most_temperature: float | None,
) -> Choice:
    """What these overrides ask for.

    :raises InvalidRequest: naming every field that cannot be honoured.
    """
    model = default if overrides.model is None else models.get(overrides.model)
    errors: list[tuple[str, str]] = []
    if overrides.provider not in {None, provider}:
        errors.append(("provider", f"this judge is {provider!r}"))
    if model is None:
        errors.append(("model", f"unknown; known are {', '.join(models)}"))
    else:
        errors += _faults(overrides, model, most_temperature)
    if errors or model is None:
        named = tuple((f"llm_config_overrides.{field}", fault) for field, fault in errors)
        raise InvalidRequest("; ".join(f"{field}: {fault}" for field, fault in named), errors=named)
    effort = overrides.reasoning_effort
    return Choice(
        model=model,
        answer_tokens=overrides.max_tokens or model.answer_tokens + _reasoning(model, effort),
        temperature=overrides.temperature,
        effort=effort,
    )


def _faults(overrides: LLMConfigOverrides, model: Model, highest: float | None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    effort, temperature, tokens = overrides.reasoning_effort, overrides.temperature, overrides.max_tokens
    if effort is not None and effort not in model.efforts:
        known = f"it takes {', '.join(model.efforts)}" if model.efforts else "it has no such setting"
        found.append(("reasoning_effort", f"{model.name!r} cannot be asked for {effort!r}; {known}"))
    if temperature is not None:
        if model.most_temperature is None or highest is None:
            found.append(("temperature", f"{model.name!r} has no such setting"))
        elif temperature > (most := min(model.most_temperature, highest)):
            found.append(("temperature", f"{model.name!r} takes at most {most:g}"))
    if tokens is not None:
        if tokens > model.most_answer_tokens:
            found.append(("max_tokens", f"{model.name!r} writes at most {model.most_answer_tokens}"))
        elif tokens <= (least := _reasoning(model, effort)):
            found.append(("max_tokens", f"the effort {effort!r} alone takes {least}"))
    return found


def _reasoning(model: Model, effort: Effort | None) -> int:
    """Tokens that are set aside for reasoning, when the provider is told a number."""
    return BUDGETS[effort] if effort is not None and model.reasoning == "budget" else 0
