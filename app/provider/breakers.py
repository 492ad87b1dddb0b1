"""The circuit breakers of this process, as people on call see them and work them by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.contracts import LLMConfigOverrides, ModelInfo
from app.contracts.wire import At
from app.errors import NotFound
from app.provider.circuit_breaker import BreakerState
from app.provider.judges.protocol import Judges
from app.provider.lane import Lane, Lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The breaker of one lane. `since` is when it opened, `next_probe_in` seconds until a call may test the judge.

    Both are null while it is closed; `next_probe_in` too when it was tripped by hand and waits for a reset.
    """

    lane: str
    state: BreakerState
    tripped: bool
    reason: str
    since: At | None
    next_probe_in: float | None
    words: str


def lanes_of(judges: Judges, models: Sequence[ModelInfo]) -> tuple[str, ...]:
    """The lanes by which `models` are asked, each once; of judges that are there."""
    names = (
        judges[info.provider].lane(LLMConfigOverrides(provider=info.provider, model=info.model))
        for info in models
        if info.provider in judges
    )
    return tuple(dict.fromkeys(names))


class Breakers:
    """Held in memory: each provider process has its own, and a restart closes them, tripped ones too.

    `offered` are lanes that can be asked here: they may be tripped before anybody asked, as after a restart.
    """

    def __init__(
        self, lanes: Lanes, *, offered: Collection[str], clock: Callable[[], float] = time.time
    ) -> None:
        self._lanes = lanes
        self._offered = offered
        self._clock = clock

    def all(self) -> Sequence[Breaker]:
        """Of every lane that was asked or worked by hand here, by name."""
        return [self._seen(lane) for lane in sorted(self._lanes, key=lambda lane: lane.name)]

    def trip(self, name: str, reason: str) -> Breaker:
        """Stop asking this judge until `reset`; calls that run go on.

        :raises NotFound: no such lane was asked here, or is offered.
        """
        lane = self._find(name)
        lane.breaker.trip(reason, lane.clock())
        return self._seen(lane)

    def reset(self, name: str, reason: str) -> Breaker:
        """Ask this judge again, now, as if it had never failed.

        :raises NotFound: as `trip`.
        """
        lane = self._find(name)
        lane.breaker.reset(reason)
        lane.freed()
        return self._seen(lane)

    def _find(self, name: str) -> Lane:
        known = [lane.name for lane in self._lanes]  # also what a former life queued, and is offered no more
        if name in known or name in self._offered:
            return self._lanes[name]
        asked, offered = ", ".join(sorted(known)) or "none yet", ", ".join(self._offered) or "none"
        raise NotFound(f"No lane {name!r} was asked here; there are: {asked}. Offered are: {offered}.")

    def _seen(self, lane: Lane) -> Breaker:
        now, breaker = lane.clock(), lane.breaker
        state, seconds = breaker.state(now), breaker.open_seconds(now)
        since = None if seconds is None else self._clock() - seconds
        probing = state is BreakerState.CLOSED or breaker.tripped
        wait = None if probing else breaker.seconds_until_room(now)
        words = breaker.describe(now)
        if state is BreakerState.OPEN:
            opened = "" if since is None else f" since {datetime.fromtimestamp(since, UTC):%H:%M:%S} UTC"
            then = "until it is reset" if wait is None else f"next probe in {wait:.0f} s"
            words = f"open{opened} ({breaker.reason}), {then}"
        return Breaker(
            lane=lane.name,
            state=state,
            tripped=breaker.tripped,
            reason=breaker.reason,
            since=since,
            next_probe_in=wait,
            words=words,
        )
