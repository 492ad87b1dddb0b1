"""What is known of a language model: its limits, what it can be asked, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

Effort = Literal["none", "low", "medium", "high"]
Structured = Literal["json_schema", "tool", "json_object", "none"]

MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counts them. `prompt` includes `cached` and `cache_written`; `completion` the reasoning."""

    prompt: int = 0
    cached: int = 0
    cache_written: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            cache_written=self.cache_written + other.cache_written,
            completion=self.completion + other.completion,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens.

    What is read from or written to the provider's cache costs like the rest, unless it has a price of its own. `on` is
    the day on which somebody read it at the provider.
    """

    prompt: float
    completion: float
    cached: float | None = None
    cache_written: float | None = None
    on: date | None = None

    @property
    def words(self) -> str:
        """For people."""
        if not (self.prompt or self.completion):
            return "costs nothing"
        read = f", read on {self.on}" if self.on else ""
        return f"{self.prompt:g} USD a million tokens in, {self.completion:g} out{read}"

    def of(self, usage: Usage) -> float:
        """What these tokens cost, in US dollars."""
        cached = self.prompt if self.cached is None else self.cached
        written = self.prompt if self.cache_written is None else self.cache_written
        read = min(usage.cached, usage.prompt)  # servers have told of more than there was
        stored = min(usage.cache_written, usage.prompt - read)
        total = (
            (usage.prompt - read - stored) * self.prompt
            + read * cached
            + stored * written
            + usage.completion * self.completion
        )
        return total / MILLION


FREE = Price(prompt=0.0, completion=0.0)
"""Of models on one's own machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of a provider.

    `answer_tokens` is the room for an answer unless the request names another, up to `most_answer_tokens`. A verdict
    takes some hundred, but many models reason unasked, and that counts.
    `bytes_per_token` guesses the size of a prompt before it is sent: English takes more bytes a token, few languages
    less. `structured` is how the server can be held to a schema. `most_temperature` None: it takes no temperature.
    `efforts` are the reasoning efforts that can be asked of it; `reasoning` says whether the provider is told a level
    or a budget of tokens. `names`: what else the server may call it in an answer; "*" is any name, for servers that
    name a file. Without a `price` nobody here knows what it costs.
    """

    name: str
    context_tokens: int = 128_000
    answer_tokens: int = 8_192
    most_answer_tokens: int = 16_384
    bytes_per_token: float = 3.0
    structured: Structured = "json_schema"
    most_temperature: float | None = 2.0
    efforts: tuple[Effort, ...] = ()
    reasoning: Literal["level", "budget"] = "level"
    names: tuple[str, ...] = ()
    price: Price | None = None
