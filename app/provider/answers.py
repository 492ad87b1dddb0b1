"""What the provider answers to people who run it. The adapter that writes an answer also describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from app.contracts import JudgeAccepted, ModelList, ProviderStatus, ProviderTest, UsageReport
from app.provider.breakers import Breaker
from app.provider.queue.protocol import Entry, LaneStats


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePage:
    """Rows in order of `place`; `next` is the cursor of the page behind this one, null once a page is not full."""

    entries: Sequence[Entry]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """Open rows by lane."""

    lanes: Mapping[str, LaneStats]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerList:
    """The breakers of this process, by lane."""

    breakers: Sequence[Breaker]


ENTRY = TypeAdapter(Entry)
QUEUE_PAGE = TypeAdapter(QueuePage)
QUEUE_STATS = TypeAdapter(QueueStats)
PROVIDERS = TypeAdapter(ProviderStatus)
JUDGE = TypeAdapter(JudgeAccepted)
BREAKER = TypeAdapter(Breaker)
BREAKERS = TypeAdapter(BreakerList)
MODELS = TypeAdapter(ModelList)
TEST = TypeAdapter(ProviderTest)
USAGE = TypeAdapter(UsageReport)
