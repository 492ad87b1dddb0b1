"""Why a batch waits, as its page says it: what its judges' lanes at the provider tell, and no others'."""

from __future__ import annotations

from datetime import UTC, datetime

from app.cj.batch import Batch, BatchSettings, BatchState
from app.cj.views import Summary
from app.contracts import LaneStatus, LLMConfigOverrides, ProviderStatus

ENDED = (BatchState.FINISHED, BatchState.CANCELLED)


def lanes_of(settings: BatchSettings, status: ProviderStatus) -> tuple[LaneStatus, ...]:
    """The lanes of these judges; of several providers each has its own."""
    return tuple(lane for lane in status.lanes if any(_asks(asked, lane.name) for asked in settings.judges))


def _asks(asked: LLMConfigOverrides, lane: str) -> bool:
    """Whether this judge goes by that lane: `provider/model`, or what a panel of models shares."""
    if asked.provider is None:
        return True
    if asked.model is None:
        return lane.startswith(f"{asked.provider}/")
    return f"{asked.provider}/{asked.model}/".startswith(f"{lane}/")


def queue(summary: Summary, status: ProviderStatus) -> str:
    """What waits where."""
    if summary.batch.state in ENDED:
        return "Nothing waits."
    waiting = f"{summary.queued:,} waiting at the provider" if summary.queued else "Nothing waiting"
    lanes = lanes_of(summary.batch.settings, status)
    said = "; ".join((*(lane.words for lane in lanes), *status.away))
    return f"{waiting}: {said}" if said else f"{waiting}."


def waits(batch: Batch, status: ProviderStatus, now: float) -> str:
    """Whom a running batch waits for because something is wrong there; nothing when all is well."""
    if batch.state is not BatchState.RUNNING or not batch.open:
        return ""
    paused = [lane for lane in lanes_of(batch.settings, status) if not lane.breaker.startswith("closed")]
    said = [_breaker(lane, now) for lane in paused]
    if status.away and not status.lanes:
        said += [f"Waiting for the provider: {reason}" for reason in status.away]
    return " ".join(dict.fromkeys(said))


def _breaker(lane: LaneStatus, now: float) -> str:
    state, _, reason = lane.breaker.partition(": ")
    name = state.split(" ", 1)[0]
    since = "" if lane.open_seconds is None else f" since {_clock(now - lane.open_seconds)}"
    if state == "open by hand":
        return f"Waiting for judge {lane.name}: somebody stopped it{since} ({reason})."
    if name == "open":
        soon = f"next try in {lane.seconds_until_room:.0f} s"
        return f"Waiting for judge {lane.name}: breaker open{since} ({reason}), {soon}."
    return f"Waiting for judge {lane.name}: breaker {name}{since}, {reason}."


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S} UTC"
