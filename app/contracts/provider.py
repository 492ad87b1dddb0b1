"""How the provider is, for the people who run it and for the pages of cj."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from app.contracts.comparison import Tally
from app.contracts.wire import Text, Tolerant


class LaneStatus(Tolerant):
    """One judge configuration of one provider process; `words` says all of it in one line. Durations in seconds.

    `breaker` is its state, and after a colon the reason: "closed", "closed by hand: …", "half-open: …", "open for 12 s
    more: …", "open by hand: …", and "closed, 2 recent failures". `open_seconds` is how long its breaker has not been
    closed, or has been open by hand; null when it is closed, or nobody counted.
    """

    name: Text
    waiting: Tally
    running: Tally
    concurrency: Tally
    breaker: Text
    open_seconds: float | None = Field(None, ge=0)
    seconds_until_room: float = Field(ge=0)
    mean_seconds: float = Field(ge=0)
    words: Text

    def later(self, seconds: float) -> Self:
        """The same so many seconds later, for who looks again without asking; its `words` stay."""
        opened = None if self.open_seconds is None else self.open_seconds + seconds
        pause = max(0.0, self.seconds_until_room - seconds)
        return self.model_copy(update={"open_seconds": opened, "seconds_until_room": pause})


class ProviderStatus(Tolerant):
    """GET /api/v1/providers: the lanes that somebody has asked, none before the first request.

    Of several providers together: `away` says of each that did not answer why.
    """

    lanes: tuple[LaneStatus, ...] = ()
    away: tuple[Text, ...] = ()

    def later(self, seconds: float) -> Self:
        """The same so many seconds later."""
        return self.model_copy(update={"lanes": tuple(lane.later(seconds) for lane in self.lanes)})

    @property
    def words(self) -> str:
        """All of it in one line."""
        return "; ".join((*(lane.words for lane in self.lanes), *self.away))


class JudgeAccepted(Tolerant):
    """POST /api/v1/judges/check: the configuration can be asked, and goes by the name of this lane."""

    lane: Text
