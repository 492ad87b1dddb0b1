"""How one entry of the HTTP API is written down: method, path, what comes in, what goes out, who may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from app.access.policy import CJ, PLATFORM, PROVIDER
from app.errors import JuxtaError

Module = Literal["provider", "cj", "platform"]
Role = Literal["all", "provider", "cj"]

_SCOPES = {
    line.replace(":uuid", ""): need.scopes.words for line, need in {**PLATFORM, **PROVIDER, **CJ}.items()
}

UUID_TEXT: Mapping[str, Any] = {"type": "string", "format": "uuid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """Something in the path, the query or a header; only what is in the path has to be there."""

    name: str
    where: Literal["path", "query", "header"]
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where an answer leads: `parameter` of another operation is found in the answer's body at `pointer`."""

    operation: str
    parameter: str
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is no problem document; without `body` it has none."""

    status: int
    description: str
    body: TypeAdapter[Any] | None = None
    media_type: str = "application/json"
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path. `name` is the operationId.

    `problems` are the failures it answers; their statuses, codes and words stand in app/errors.py.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    name: str
    module: Module
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: TypeAdapter[Any] | None = None
    example: Any = None
    answers: tuple[Answer, ...]
    problems: tuple[type[JuxtaError], ...] = ()

    @property
    def scopes(self) -> tuple[str, ...]:
        """What a key needs, any one of them; none means public. The gate's own table says it."""
        return _SCOPES[f"{self.method} {self.path}"]


def in_path(name: str, description: str) -> Parameter:
    """An id in the path."""
    return Parameter(name=name, where="path", description=description, schema=UUID_TEXT)


SERVES: Mapping[Role, frozenset[Module]] = {
    "all": frozenset({"provider", "cj", "platform"}),
    "provider": frozenset({"provider", "platform"}),
    "cj": frozenset({"cj", "platform"}),
}
