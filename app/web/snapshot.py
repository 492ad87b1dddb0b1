"""How a batch stands this moment: the live page's first picture, and every `state` event after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.cj.batch import Batch, BatchState
from app.cj.scoring_ranking import RankedEssay
from app.cj.views import Comparison, Summary, Views
from app.contracts import ProviderStatus
from app.web import words
from app.web.waits import ENDED, queue, waits

Look = Callable[[], Awaitable[ProviderStatus]]
"""How the provider is now, as the pages ask for it."""
Clock = Callable[[], float]

LATEST = 12
_WINDOW = 40
_LEAST_SPAN = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An essay in the live ranking, without a rank before its first verdict; `left`, `dot` and `right` place its interval in 0..100 of the width."""

    rank: int | None
    position: int
    essay: str
    level: str | None
    score: str
    margin: str
    comparisons: int
    left: float | None
    dot: float | None
    right: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the live page shows, in words and figures ready to be shown."""

    state: str
    state_words: str
    ended: bool
    done: int
    total: int
    total_words: str
    rate: str
    eta: str
    reliability: str
    cost: str
    queue: str
    waits: str
    problem: str
    stopped: str
    ranking: tuple[Line, ...]


async def take(views: Views, batch_id: UUID, look: Look, now: float) -> Snapshot:
    """Read everything the live page shows.

    :raises NotFound: no such batch.
    """
    summary = await views.summary(batch_id)
    rows = await views.ranking(batch_id)
    latest = await views.comparisons(batch_id, after=_behind(summary.batch, _WINDOW), ended=True)
    return picture(summary, rows, latest, await look(), now)


async def latest_verdicts(views: Views, batch: Batch) -> list[words.Verdict]:
    """The last verdicts as sentences, the newest first."""
    ended = await views.comparisons(batch.id, after=_behind(batch, LATEST), ended=True)
    return [words.verdict(one) for one in reversed(ended)]


def _behind(batch: Batch, number: int) -> int:
    """`ended_order` counts ended comparisons from 1, so the last ones are found without a scan."""
    return max(0, batch.decided + batch.failed - number)


def total(batch: Batch) -> int:
    """How many comparisons this batch comes to at most; exact once it has stopped asking."""
    if batch.stop_reason is not None:
        return batch.planned
    return max(batch.planned, batch.most_verdicts)


def picture(
    summary: Summary,
    rows: Sequence[RankedEssay],
    latest: Sequence[Comparison],
    provider: ProviderStatus,
    now: float,
) -> Snapshot:
    """Turn what was read into what is shown."""
    batch = summary.batch
    done = batch.decided + batch.failed
    rate = _rate(latest, now) if batch.state is BatchState.RUNNING else None
    return Snapshot(
        state=batch.state.value,
        state_words=words.STATES[batch.state],
        ended=batch.state in ENDED,
        done=done,
        total=total(batch),
        total_words=f"{'' if batch.stop_reason else 'about '}{total(batch):,}",
        rate=words.NOTHING_YET if rate is None else f"{rate * 60:.0f} per minute",
        eta=words.NOTHING_YET if rate is None else words.duration(max(0, total(batch) - done) / rate),
        reliability=f"{words.reliability(batch.reliability)} of {words.figure(batch.settings.target_reliability)}",
        cost=words.cost(batch),
        queue=queue(summary, provider),
        waits=waits(batch, provider, now),
        problem=batch.problem or "",
        stopped=words.stopped(batch),
        ranking=lines(rows),
    )


def _rate(latest: Sequence[Comparison], now: float) -> float | None:
    """Comparisons per second over the last ones up to now; None while too few are known."""
    moments = [one.ended_at for one in latest if one.ended_at is not None]
    if len(moments) < 2:  # noqa: PLR2004 - one moment spans no time
        return None
    return (len(moments) - 1) / max(_LEAST_SPAN, now - min(moments))


def lines(rows: Sequence[RankedEssay]) -> tuple[Line, ...]:
    """The ranking with each interval placed on one common scale."""
    low = min((row.low for row in rows if row.low is not None), default=0.0)
    high = max((row.high for row in rows if row.high is not None), default=0.0)
    span = (high - low) or 1.0

    def place(value: float | None) -> float | None:
        return None if value is None else round(2 + 96 * (value - low) / span, 1)

    return tuple(
        Line(
            rank=row.rank if row.comparisons else None,
            position=row.position,
            essay=row.essay,
            level=row.level,
            score=words.figure(row.score),
            margin="" if row.high is None or row.score is None else f"± {row.high - row.score:.2f}",
            comparisons=row.comparisons,
            left=place(row.low),
            dot=place(row.score),
            right=place(row.high),
        )
        for row in rows
    )
