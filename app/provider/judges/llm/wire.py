"""What every wire format promises, and the values that pass between it, the HTTP client and the judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from app.provider.judges.llm.model import Effort, Model, Structured, Usage
from app.provider.judges.llm.prompt import Prompt

KEYS = frozenset({"authorization", "x-api-key", "x-goog-api-key"})
"""The headers in which keys are sent."""
BUDGETS: Mapping[Effort, int] = {"none": 0, "low": 1_024, "medium": 4_096, "high": 16_384}
"""Tokens of reasoning for providers that want a number. They count as part of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A second turn: what the model said first, and what to say to that."""

    answer: str
    complaint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to a model.

    `answer_tokens` includes the reasoning; None of the others means: as the provider does it.
    """

    model: Model
    prompt: Prompt
    answer_tokens: int
    temperature: float | None = None
    effort: Effort | None = None
    repair: Repair | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP POST. `headers` hold the key."""

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Call({self.url!r})"


@dataclass(frozen=True, slots=True)
class Listing:
    """An HTTP GET of the list of models. `headers` hold the key."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever it is. Names of headers are in lower case. `keyed`: a key was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    keyed: bool = True

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"


class Stop(StrEnum):
    """Why the model stopped."""

    DONE = "done"
    CUT = "cut"
    """No room was left: the limit of the answer, or the context window."""
    REFUSED = "refused"
    """The model would not, or a filter of the provider cut in."""
    BROKEN = "broken"
    """The provider says that it failed."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that was understood. `model`: what the server says it used, empty when it does not say."""

    text: str
    stop: Stop
    model: str
    usage: Usage

    def __repr__(self) -> str:
        return f"Reply({self.stop}, {self.model!r}, {self.usage})"


class Format(Protocol):
    """One wire format, without I/O; it knows its server's address and key."""

    structured: ClassVar[frozenset[Structured]]
    """The ways in which it can hold a server to a schema."""
    most_temperature: ClassVar[float | None]
    """The highest temperature it can carry; None: it carries none."""

    def listing(self) -> Listing:
        """Where the server says which models it has."""

    def build(self, ask: Ask) -> Call:
        """The request that asks this."""

    def read(self, answer: Answer, *, now: float) -> Reply:
        """Understand an answer; `now` is POSIX time, for moments in its headers.

        :raises JudgeError: it is an error, or nothing that this format knows.
        """
