"""When to stop asking a judge that keeps failing, and when to ask again. Pure: time comes in as `now`.

closed -> open        `threshold` failures within `window`, and not one answer among them
open -> half-open     the cool-down is over; it doubles with each opening in a row, up to a cap
half-open -> closed   the one probe came back with an answer
half-open -> open     the one probe failed
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum


class BreakerState(StrEnum):
    """Where the breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Counts failures of one judge; all moments are monotonic seconds.

    `begin` hands out a permit; what comes of a call is told with its permit, so that a late answer to a call from
    before the breaker opened changes nothing. A probe has a deadline: one that got lost does not block for ever.
    """

    def __init__(
        self,
        *,
        threshold: int = 5,
        window: float = 60.0,
        cooldown: float = 10.0,
        cooldown_cap: float = 300.0,
        probe_deadline: float = 120.0,
    ) -> None:
        self._threshold = threshold
        self._window = window
        self._cooldown = cooldown
        self._cooldown_cap = cooldown_cap
        self._probe_deadline = probe_deadline
        self._failures: deque[float] = deque()
        self._opened_at: float | None = None
        self._open_until: float | None = None
        self._probe_until: float | None = None
        self._openings = 0
        self._permit = 0
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why it last opened, or by whose hand it closed; empty once it closed by itself."""
        return self._reason

    @property
    def tripped(self) -> bool:
        """Whether it was opened by hand, and only `reset` closes it."""
        return self._open_until == math.inf

    def state(self, now: float) -> BreakerState:
        """Where the breaker stands at `now`."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def open_seconds(self, now: float) -> float | None:
        """How long it has not been closed; None when it is, or was opened by who did not say when."""
        return None if self._opened_at is None else now - self._opened_at

    def room(self, now: float) -> float:
        """How many calls may begin now: no bound, one, or none."""
        if self._open_until is None:
            return math.inf
        if now < self._open_until or (self._probe_until is not None and now < self._probe_until):
            return 0
        return 1

    def seconds_until_room(self, now: float) -> float:
        """How long to wait before asking `room` again; 0 when there is room."""
        if self.room(now):
            return 0.0
        until = max(self._open_until or now, self._probe_until or now)
        return until - now

    def begin(self, now: float) -> int:
        """Take the right to call the judge once; ask `room` first. Returns the permit."""
        if self._open_until is not None:
            self._probe_until = now + self._probe_deadline
            self._permit += 1
        return self._permit

    def allows(self, permit: int) -> bool:
        """Whether the call may still begin: the breaker has not opened since."""
        return self._open_until is None or permit == self._permit

    def succeed(self, permit: int) -> None:
        """The judge answered: well, or with a refusal that shows it is up.

        A judge that fails now and then, at many calls a minute, is still worth asking: an answer ends a row of failures.
        """
        if permit != self._permit:
            return
        if self._open_until is not None:
            self._close()
        else:
            self._failures.clear()

    def fail(self, permit: int, now: float) -> None:
        """The call failed in a way that counts."""
        if permit != self._permit:
            return
        if self._open_until is not None:
            self._open(now, "the test call failed")
            return
        self._failures.append(now)
        self._forget(now)
        if len(self._failures) >= self._threshold:
            self._open(now, f"{len(self._failures)} failures within {self._window:.0f} s")

    def abandon(self, permit: int) -> None:
        """The call says nothing about the judge (cut off, never begun, told to slow down); a probe may be taken again."""
        if permit == self._permit:
            self._probe_until = None

    def trip(self, reason: str, now: float | None = None) -> None:
        """Open by hand, since now whatever it was before; only `reset` closes it again."""
        self._permit += 1
        self._opened_at = now
        self._open_until, self._probe_until = math.inf, None
        self._reason = f"by hand: {reason}"

    def reset(self, reason: str) -> None:
        """Close by hand and forget every failure."""
        self._close()
        self._reason = f"by hand: {reason}"

    def describe(self, now: float) -> str:
        """Say it to people."""
        match self.state(now):
            case BreakerState.OPEN if self._open_until == math.inf:
                return f"open {self._reason}"
            case BreakerState.OPEN:
                return f"open for {self.seconds_until_room(now):.0f} s more: {self._reason}"
            case BreakerState.HALF_OPEN:
                testing = self.room(now) == 0
                return f"half-open: {'one call is testing' if testing else 'the next call tests'} the judge"
            case BreakerState.CLOSED:
                self._forget(now)
                failures = len(self._failures)
                words = f"closed {self._reason}".rstrip()
                return f"{words}, {failures} recent failures" if failures else words

    def _forget(self, now: float) -> None:
        while self._failures and now - self._failures[0] >= self._window:
            self._failures.popleft()

    def _open(self, now: float, reason: str) -> None:
        self._permit += 1
        cooldown = min(self._cooldown_cap, self._cooldown * 2.0 ** min(self._openings, 30))
        self._openings += 1
        self._opened_at = now if self._opened_at is None else self._opened_at
        self._open_until, self._probe_until = now + cooldown, None
        self._failures.clear()
        self._reason = reason

    def _close(self) -> None:
        self._permit += 1
        self._opened_at = self._open_until = self._probe_until = None
        self._openings = 0
        self._failures.clear()
        self._reason = ""
