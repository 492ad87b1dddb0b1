"""What the three formats have in common: what is asked, what a model says, what is refused, and how that is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Protocol

from tests.fake_llm.http import Answer, Request

CHARACTERS_PER_TOKEN = 4


class Fault(Enum):
    """Why a call is refused. Each format has its own status and words for it."""

    INVALID = auto()
    KEY_MISSING = auto()
    KEY_WRONG = auto()
    MODEL_UNKNOWN = auto()
    NO_SUCH_PATH = auto()
    RATE = auto()
    QUOTA = auto()
    PAYMENT = auto()
    FILTERED = auto()
    SERVER = auto()
    UNAVAILABLE = auto()
    OVERLOADED = auto()


class Denied(Exception):
    """A call that the vendor would refuse. `where` is the field, `code` the vendor's own word, `wait` in seconds."""

    def __init__(
        self,
        fault: Fault,
        message: str = "",
        *,
        where: str | None = None,
        code: str | None = None,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.where = where
        self.code = code
        self.wait = wait


class Stop(Enum):
    """Why the model stopped."""

    DONE = auto()
    LENGTH = auto()
    REFUSAL = auto()
    FILTERED = auto()


@dataclass(frozen=True)
class Ask:
    """What one valid call asks for. `constant` is the part marked for the cache, where a format marks it."""

    model: str
    prompt: str
    schema: Mapping[str, Any] | None = None
    tool: str | None = None
    max_tokens: int | None = None
    constant: str | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens of one call; `input` includes those read from the cache and those written to it."""

    input: int
    output: int
    cached: int = 0
    written: int = 0


@dataclass(frozen=True)
class Completion:
    """What the model says. With `prose`, in words even when a tool was to be called."""

    model: str
    text: str
    usage: Usage
    stop: Stop = Stop.DONE
    prose: bool = False

    def saying(self, text: str) -> Completion:
        """The same with other words, counted anew."""
        return replace(self, text=text, usage=replace(self.usage, output=tokens(text)))

    def within(self, limit: int | None) -> Completion:
        """Cut where so many tokens end."""
        if limit is None or self.usage.output <= limit:
            return self
        return replace(self.saying(self.text[: limit * CHARACTERS_PER_TOKEN]), stop=Stop.LENGTH, prose=True)


@dataclass(frozen=True)
class Quota:
    """Requests in the sliding minute: the limit, what is left of it, and in how many seconds one more is free."""

    limit: int
    left: int
    reset: float


class Dialect(Protocol):
    """One vendor's wire format."""

    name: str

    def serves(self, request: Request) -> bool:
        """Whether the path is the one to which questions are posted."""

    def key(self, request: Request) -> str | None:
        """The key that came with the request."""

    def read(self, request: Request) -> Ask:
        """What is asked.

        :raises Denied: the vendor would refuse it.
        """

    def write(self, ask: Ask, completion: Completion, *, request_id: str) -> bytes:
        """The body of a good answer."""

    def deny(self, denied: Denied, *, request_id: str) -> Answer:
        """The vendor's error, with the wait in the body where the vendor says it there."""

    def headers(self, *, request_id: str, quota: Quota | None) -> dict[str, str]:
        """What the vendor adds to each answer."""


def tokens(text: str) -> int:
    """About as many tokens as the text has; at least one unless it is empty."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def shared_prefix(one: str, other: str) -> str:
    """What both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return one[:low]


def read_json(body: bytes) -> dict[str, Any]:
    """The object in a body.

    :raises Denied: there is none.
    """
    try:
        found = json.loads(body)
    except ValueError as error:
        raise Denied(Fault.INVALID, "We could not parse the JSON body of your request.") from error
    if not isinstance(found, dict):
        raise Denied(Fault.INVALID, "The body of the request must be a JSON object.")
    return found


def dump(value: object) -> bytes:
    """As JSON, in UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode()
