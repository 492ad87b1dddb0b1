"""Strict reading of requests: one flaw at a time, with its path, in words that each format puts its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

Path = tuple[str | int, ...]


class Strict(BaseModel):
    """A part of a request: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Flaw(Exception):
    """What is wrong first, and where."""

    kind: Literal["missing", "unknown", "wrong"]
    path: Path
    message: str

    def dotted(self) -> str:
        """As in `messages.0.content`."""
        return ".".join(map(str, self.path))

    def indexed(self) -> str:
        """As in `messages[0].content`."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return "".join(parts).removeprefix(".")


M = TypeVar("M", bound=BaseModel)


def read_strictly(model: type[M], body: Mapping[str, Any]) -> M:
    """The body as this model.

    :raises Flaw: it is not one.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    kind = {"missing": "missing", "extra_forbidden": "unknown"}.get(first["type"], "wrong")
    path = _within(body, first["loc"], missing=kind == "missing")
    raise Flaw(kind, path, first["msg"])  # type: ignore[arg-type]


def _within(body: Any, location: Path, *, missing: bool) -> Path:
    """The location without what pydantic adds to it: names of the members of unions."""
    path: list[str | int] = []
    for part in location:
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(part)
    return (*path, location[-1]) if missing else tuple(path)
