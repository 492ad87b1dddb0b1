"""What the server saw: starts with their moments, the busiest sliding minute, tokens and money."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from tests.fake_llm.dialect import Quota, Usage

MINUTE = 60.0
MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Prices:
    """US dollars for a million tokens; what has no price of its own costs as input does."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cached: Decimal | None = None
    written: Decimal | None = None

    def of(self, usage: Usage) -> Decimal:
        """What these tokens cost, exactly."""
        fresh = usage.input - usage.cached - usage.written
        parts = (
            fresh * self.input,
            usage.output * self.output,
            usage.cached * (self.input if self.cached is None else self.cached),
            usage.written * (self.input if self.written is None else self.written),
        )
        return sum(parts, Decimal(0)) / MILLION


class SlidingMinute:
    """Moments in the last sixty seconds: one that is sixty seconds old has left."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque()

    def add(self, now: float) -> int:
        """One more; how many there are now."""
        self._moments.append(now)
        return self.count(now)

    def count(self, now: float) -> int:
        """How many there are."""
        while self._moments and self._moments[0] <= now - MINUTE:
            self._moments.popleft()
        return len(self._moments)

    def oldest(self) -> float:
        """The moment that leaves next."""
        return self._moments[0]


def busiest_minute(moments: Sequence[float]) -> int:
    """The most of these ordered moments that any sixty seconds hold, their end not counted."""
    window = SlidingMinute()
    return max((window.add(moment) for moment in moments), default=0)


class Limiter:
    """Admits at most so many calls in any sliding minute, as a vendor does."""

    def __init__(self, per_minute: int | None) -> None:
        self._limit = per_minute
        self._admitted = SlidingMinute()

    def admit(self, now: float) -> float | None:
        """None when it may start; else the seconds until one may."""
        if self._limit is None or self._admitted.count(now) < self._limit:
            self._admitted.add(now)
            return None
        return self._admitted.oldest() + MINUTE - now

    def quota(self, now: float) -> Quota | None:
        """What is left of the limit, if there is one."""
        if self._limit is None:
            return None
        used = self._admitted.count(now)
        reset = self._admitted.oldest() + MINUTE - now if used else 0.0
        return Quota(self._limit, self._limit - used, reset)


@dataclass
class Tally:
    """The tokens of one model: of the answers that were sent whole, and of those that were not."""

    answers: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    cost: Decimal = Decimal(0)

    def add(self, usage: Usage, prices: Prices) -> None:
        """One more answer."""
        self.answers += 1
        self.input += usage.input
        self.output += usage.output
        self.cached += usage.cached
        self.written += usage.written
        self.cost += prices.of(usage)


@dataclass
class Counts:
    """Everything counted since the start or the last `clear`."""

    starts: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    misbehaviours: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    models: dict[str, Tally] = field(default_factory=dict)
    unseen: dict[str, Tally] = field(default_factory=dict)
    essays_missing: int = 0
    scores_missing: int = 0
    redirects_followed: int = 0
    running: int = 0
    most_running: int = 0

    def clear(self) -> None:
        """Begin anew; the calls that run stay counted."""
        self.__init__(running=self.running, most_running=self.running)  # type: ignore[misc]

    def start(self, now: float, dialect: str) -> None:
        """A call arrived."""
        self.starts.append(now)
        self.formats[dialect] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)

    def bill(self, model: str, usage: Usage, prices: Prices, *, whole: bool) -> None:
        """A model worked; its answer was sent whole, or the client can know nothing of it."""
        (self.models if whole else self.unseen).setdefault(model, Tally()).add(usage, prices)

    def report(self, now: float) -> dict[str, Any]:
        """As JSON. Moments are seconds before now."""
        return {
            "starts": len(self.starts),
            "started_ago": [round(now - moment, 4) for moment in self.starts],
            "busiest_minute": busiest_minute(self.starts),
            "running": self.running,
            "most_running": self.most_running,
            "formats": dict(self.formats),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "misbehaviours": dict(self.misbehaviours),
            "refusals": dict(self.refusals),
            "essays_missing": self.essays_missing,
            "scores_missing": self.scores_missing,
            "redirects_followed": self.redirects_followed,
            "models": {name: _plain(tally) for name, tally in self.models.items()},
            "unseen": {name: _plain(tally) for name, tally in self.unseen.items()},
            "cost_usd": str(_cost(self.models)),
            "unseen_cost_usd": str(_cost(self.unseen)),
        }


def _cost(tallies: dict[str, Tally]) -> Decimal:
    return sum((tally.cost for tally in tallies.values()), Decimal(0))


def _plain(tally: Tally) -> dict[str, Any]:
    return {**asdict(tally), "cost": str(tally.cost)}
