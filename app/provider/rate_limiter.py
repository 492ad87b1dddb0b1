"""At most so many starts and tokens in any sliding minute. Pure: time comes in as `now`, monotonic seconds.

A log of starts, not a token bucket: a bucket lets a burst and then the rate through (measured: 59 starts where 30
were allowed). A reservation counts from the moment it is made and is stamped when the call really starts, so that a
slow database between the two cannot squeeze starts together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

PERIOD = 60.0
"""Seconds of the window over which rates are kept."""

REMEMBERED = PERIOD + 5.0
"""Seconds of a former life that matter: a lane may count over a little more than a minute."""


class Former(NamedTuple):
    """A call of a former life: how many seconds ago it began, and its tokens; None where nobody knows them."""

    age: float
    tokens: int | None = 0


@dataclass(slots=True)
class Start:
    """One call in the log; `tokens` is an estimate until `settle`."""

    at: float
    tokens: int
    counted: bool = True


class RateLimiter:
    """A moving window over the starts of one judge.

    `recent` holds the starts of a former life of the process, so that the promise also holds over a restart; their
    moments are in the time of `now`.
    """

    def __init__(
        self,
        *,
        requests: int | None = None,
        tokens: int | None = None,
        period: float = PERIOD,
        recent: Iterable[Start] = (),
    ) -> None:
        self._requests = requests
        self._tokens = tokens
        self._period = period
        self._log = deque(sorted(recent, key=lambda start: start.at) if self.bounded else ())
        self._used = sum(start.tokens for start in self._log)
        self._reserved = 0
        self._reserved_tokens = 0
        self._paused_until = float("-inf")
        self._room = 0
        self._room_until = float("-inf")

    @property
    def bounded(self) -> bool:
        """Whether there is any limit to keep."""
        return self._requests is not None or self._tokens is not None

    def wait(self, now: float, *, tokens: int = 0) -> float:
        """Seconds until a call may start; 0 when it may now."""
        pause = max(0.0, self._paused_until - now)
        if not self.bounded:
            return pause
        self._forget(now)
        room = max(tokens, self._room) if now < self._room_until else tokens
        return max(pause, self._wait_requests(now), self._wait_tokens(now, room))

    def reserve(self, now: float, *, tokens: int = 0) -> float:
        """Take one start of about `tokens`: 0 when it is ours, else the seconds to wait before asking again."""
        wait = self.wait(now, tokens=tokens)
        if not wait:
            self._reserved += 1
            self._reserved_tokens += tokens
        return wait

    def widen(self, now: float, *, by: int) -> float:
        """Let a reservation count for more tokens: 0 when it does, else the seconds to wait; then it is as it was."""
        self._forget(now)
        self._reserved -= 1  # to look as if the others were alone
        wait = self._wait_tokens(now, by)
        self._reserved += 1
        if not wait:
            self._reserved_tokens += by
        return wait

    def start(self, now: float, *, tokens: int = 0) -> Start:
        """The reserved call starts now."""
        self.give_back(tokens=tokens)
        start = Start(now, tokens)
        if self.bounded:
            self._log.append(start)
            self._used += tokens
        return start

    def give_back(self, *, tokens: int = 0) -> None:
        """The reserved call does not start after all."""
        self._reserved -= 1
        self._reserved_tokens -= tokens

    def settle(self, start: Start, *, tokens: int) -> None:
        """Put the tokens really used in place of the estimate."""
        if start.counted and self.bounded:
            self._used += tokens - start.tokens
            start.tokens = tokens

    def keep_room(self, tokens: int, *, until: float) -> None:
        """Let nothing start before a call of so many tokens would fit, at most until that moment."""
        self._room, self._room_until = tokens, until

    def pause_until(self, moment: float) -> None:
        """Start nothing before `moment` (Retry-After is a floor); an earlier, longer pause stays."""
        self._paused_until = max(self._paused_until, moment)

    def _forget(self, now: float) -> None:
        while self._log and now - self._log[0].at >= self._period:
            gone = self._log.popleft()
            gone.counted = False
            self._used -= gone.tokens

    def _wait_requests(self, now: float) -> float:
        if self._requests is None:
            return 0.0
        too_many = len(self._log) + self._reserved + 1 - self._requests
        if too_many <= 0:
            return 0.0
        if too_many > len(self._log):
            return self._period
        return self._log[too_many - 1].at + self._period - now

    def _wait_tokens(self, now: float, tokens: int) -> float:
        if self._tokens is None:
            return 0.0
        over = self._used + self._reserved_tokens + tokens - self._tokens
        if over <= 0 or not (self._log or self._reserved):  # one call above the limit runs alone, not never
            return 0.0
        for start in self._log:
            over -= start.tokens
            if over <= 0:
                return start.at + self._period - now
        return self._log[-1].at + self._period - now if self._log and not self._reserved else self._period
