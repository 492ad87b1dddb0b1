"""The gate of one judge configuration: how many calls at once, how fast, and whether the judge is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.contracts import LaneStatus
from app.provider.circuit_breaker import CircuitBreaker
from app.provider.judges.protocol import JudgeError
from app.provider.rate_limiter import PERIOD, Former, RateLimiter, Start

Clock = Callable[[], float]
SMOOTHING = 0.1
LOOK_AGAIN = 2.0
"""Seconds after which a call that did not fit is looked at again; nobody looks while the lane has no room for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """What one judge configuration bears; durations in seconds.

    `concurrency` 0 means that no machine calls this judge: its rows wait for people. The rates are this process's
    share, over `period`: a minute, and a little more for a judge behind a network, where what starts a minute apart may
    arrive closer together. `call_timeout` ends a call that hangs.
    """

    concurrency: int = 8
    direct_concurrency: int = 4
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    period: float = PERIOD
    failures: int = 5
    failure_window: float = 60.0
    cooldown: float = 10.0
    cooldown_cap: float = 300.0
    call_timeout: float = 120.0


class Slot:
    """The right to call the judge once. It ends by exactly one of `succeed`, `fail`, `give_back`; more do nothing."""

    __slots__ = ("_direct", "_lane", "_open", "_permit", "_start", "_tokens")

    def __init__(self, lane: Lane, permit: int, tokens: int, *, direct: bool) -> None:
        self._lane = lane
        self._permit = permit
        self._tokens = tokens
        self._direct = direct
        self._start: Start | None = None
        self._open = True

    @property
    def timeout(self) -> float:
        """How long the call may take."""
        return self._lane.limits.call_timeout

    @property
    def allowed(self) -> bool:
        """Whether the call may still start; the breaker may have opened since the slot was taken."""
        return self._lane.breaker.allows(self._permit)

    @property
    def metered(self) -> bool:
        """Whether the lane has a limit of tokens."""
        return self._lane.limits.tokens_per_minute is not None

    def fit(self, tokens: int) -> float:
        """Count the call as one of about `tokens`: 0 when they fit into the minute, else the seconds until a new look.

        Until they would fit the lane starts nothing, so that many small calls cannot keep a large one waiting. They may
        fit earlier than it seems: calls under way may take less than was thought.
        """
        lane, now = self._lane, self._lane.clock()
        more = max(0, tokens - self._tokens)
        wait = lane.limiter.widen(now, by=more) if more else 0.0
        if wait:
            lane.limiter.keep_room(tokens, until=now + wait)
        else:
            self._tokens += more
        return min(wait, LOOK_AGAIN)

    def begin(self) -> None:
        """The call starts now."""
        self._start = self._lane.limiter.start(self._lane.clock(), tokens=self._tokens)

    def succeed(self, *, tokens: int) -> None:
        """The judge answered, using `tokens`."""
        if self._open:
            self._lane.breaker.succeed(self._permit)
            self._end(tokens)

    def fail(self, error: JudgeError) -> None:
        """The judge gave no verdict: it may trip the breaker, or ask to be left alone for a while."""
        if not self._open:
            return
        lane, now = self._lane, self._lane.clock()
        if error.trips:
            lane.breaker.fail(self._permit, now)
        elif error.retry_after is not None:
            lane.breaker.abandon(self._permit)
        else:
            lane.breaker.succeed(self._permit)
        if error.retry_after is not None:
            lane.limiter.pause_until(now + error.retry_after)
        if self._start is not None and error.spent is not None:
            lane.limiter.settle(self._start, tokens=error.spent.tokens)
        self._end(None)

    def give_back(self) -> None:
        """The call did not begin, or was cut off by us."""
        if self._open:
            self._lane.breaker.abandon(self._permit)
            if self._start is None:
                self._lane.limiter.give_back(tokens=self._tokens)
            self._end(None)

    def _end(self, tokens: int | None) -> None:
        self._open = False
        self._lane.end(self._start, tokens, direct=self._direct)


class Lane:
    """Hands out slots. Whoever waits for room sets `freed`, which is called each time a slot ends."""

    def __init__(
        self,
        name: str,
        limits: LaneLimits,
        *,
        recent: Iterable[Start] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = name
        self.limits = limits
        self.clock = clock
        self.breaker = CircuitBreaker(
            threshold=limits.failures,
            window=limits.failure_window,
            cooldown=limits.cooldown,
            cooldown_cap=limits.cooldown_cap,
            probe_deadline=limits.call_timeout + 10.0,
        )
        self.limiter = RateLimiter(
            requests=limits.requests_per_minute,
            tokens=limits.tokens_per_minute,
            period=limits.period,
            recent=recent,
        )
        self.freed: Callable[[], None] = lambda: None
        self.running = 0
        self._direct = 0
        self._mean_seconds = 0.0
        self._mean_tokens = 0.0

    def take(self, limit: int) -> list[Slot]:
        """Take up to `limit` slots for calls that may start now."""
        now = self.clock()
        room = min(limit, self.limits.concurrency - self.running, self.breaker.room(now))
        slots: list[Slot] = []
        tokens = round(self._mean_tokens)
        while len(slots) < room and not self.limiter.reserve(now, tokens=tokens):
            slots.append(Slot(self, self.breaker.begin(now), tokens, direct=False))
            self.running += 1
        return slots

    def may_run_direct(self, waiting: int) -> bool:
        """Whether a new request may be judged at once instead of behind the `waiting` ones."""
        now = self.clock()
        return (
            waiting == 0
            and self._direct < self.limits.direct_concurrency
            and self.running < self.limits.concurrency
            and self.breaker.room(now) > 0
            and not self.limiter.wait(now, tokens=round(self._mean_tokens))
        )

    def take_direct(self, waiting: int) -> Slot | None:
        """Take a slot on the direct road, or None when the request has to queue."""
        if not self.may_run_direct(waiting):
            return None
        now, tokens = self.clock(), round(self._mean_tokens)
        self.limiter.reserve(now, tokens=tokens)
        self.running += 1
        self._direct += 1
        return Slot(self, self.breaker.begin(now), tokens, direct=True)

    def start_again(self) -> float:
        """Start one more call within a running one, such as a repair: 0 when it counts as started, else how long to wait.

        Its tokens are settled with those of the call it belongs to.
        """
        now = self.clock()
        wait = self.limiter.reserve(now)
        if not wait:
            self.limiter.start(now)
        return wait

    def end(self, start: Start | None, tokens: int | None, *, direct: bool) -> None:
        """A slot ended; called by the slot."""
        self.running -= 1
        self._direct -= direct
        if start is not None and tokens is not None:
            seconds = self.clock() - start.at
            weight = SMOOTHING if self._mean_seconds else 1.0
            self._mean_seconds += weight * (seconds - self._mean_seconds)
            self._mean_tokens += weight * (tokens - self._mean_tokens)
            self.limiter.settle(start, tokens=tokens)
        self.freed()

    def seconds_until_room(self) -> float:
        """How long to wait for the breaker and the rate, not counting slots that other calls hold."""
        now = self.clock()
        wait = self.limiter.wait(now, tokens=round(self._mean_tokens))
        return max(self.breaker.seconds_until_room(now), wait)

    def estimate(self, waiting: int) -> float:
        """About how many seconds until a request behind `waiting` others is answered; at most an hour."""
        share = self._mean_seconds / max(1, self.limits.concurrency)
        if self.limits.requests_per_minute:
            share = max(share, 60.0 / self.limits.requests_per_minute)
        return min(3600.0, self.seconds_until_room() + (waiting + 1) * share)

    def status(self, waiting: int) -> LaneStatus:
        """The lane as people see it."""
        breaker = self.breaker.describe(self.clock())
        pause = self.seconds_until_room()
        if self.limits.concurrency == 0:
            reason = "waits for people"
        elif not math.isfinite(pause) or self.breaker.room(self.clock()) == 0:
            reason = "judge paused"
        elif pause:
            reason = f"rate limit, next start in {pause:.0f} s"
        else:
            reason = "judge busy" if self.running >= self.limits.concurrency else "judge free"
        return LaneStatus(
            name=self.name,
            waiting=waiting,
            running=self.running,
            concurrency=self.limits.concurrency,
            breaker=breaker,
            open_seconds=self.breaker.open_seconds(self.clock()),
            seconds_until_room=min(pause, 3600.0),
            mean_seconds=self._mean_seconds,
            words=f"{waiting} waiting, {self.running} running: {reason}, breaker {breaker}",
        )


class Lanes:
    """Every lane by name, made on first use from what `limits` says of it."""

    def __init__(
        self,
        limits: Callable[[str], LaneLimits],
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self._limits = limits
        self._recent: dict[str, tuple[float, Sequence[Former]]] = {}
        self._clock = clock
        self._lanes: dict[str, Lane] = {}

    def __getitem__(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            limits = self._limits(name)
            then, former = self._recent.pop(name, (0.0, ()))
            # what nobody knows takes the whole minute: the lane waits it out
            unknown = limits.tokens_per_minute or 0
            recent = [Start(then - age, unknown if tokens is None else tokens) for age, tokens in former]
            lane = self._lanes[name] = Lane(name, limits, recent=recent, clock=self._clock)
        return lane

    def open(self, name: str) -> None:
        """Make the lane if it is not there yet, so that people see it and a worker leases for it."""
        self[name]

    def remember(self, former: Mapping[str, Iterable[Former]]) -> None:
        """Take over the calls of a former life; lanes already made know their own."""
        now = self._clock()
        self._recent = {
            name: (now, tuple(calls)) for name, calls in former.items() if name not in self._lanes
        }

    def __iter__(self) -> Iterator[Lane]:
        return iter(tuple(self._lanes.values()))
