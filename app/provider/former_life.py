"""What a former life of the process began within the last minute, so that limits hold over a restart.

The ledger knows every try from its lease on; what was spent knows repairs and tokens, but only of calls that ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.provider.judges.protocol import Judges, Metered
from app.provider.lane import Lanes
from app.provider.queue.protocol import RequestQueue
from app.provider.rate_limiter import REMEMBERED, Former
from app.provider.spending import Paid, Spending


async def remember(lanes: Lanes, queue: RequestQueue, spending: Spending | None, judges: Judges) -> None:
    """Tell the lanes.

    :raises StoreUnavailable: it cannot be read.
    """
    tries = await queue.recent_starts(seconds=REMEMBERED)
    paid = await spending.recent(seconds=REMEMBERED) if spending is not None else {}

    def of(lane: str) -> list[Former]:
        metered = isinstance(judges.get(lane.partition("/")[0]), Metered)
        return starts(tries.get(lane, ()), paid.get(lane, ()), repairs=metered)

    lanes.remember({lane: of(lane) for lane in {**tries, **paid}})


def starts(tries: Sequence[float], paid: Sequence[Paid], *, repairs: bool) -> list[Former]:
    """The calls of one lane, rather too many than too few; `tries` are ages of tries in seconds.

    What was paid counts from its end, for its repair began after its start. A try that nobody paid for was under way at
    the end of that life: it took as much as the dearest known, and had a repair where the judge makes `repairs`.
    """
    known = sum(one.began < REMEMBERED for one in paid)
    under_way = sorted(tries)[: max(0, len(tries) - known)]
    usual = max((one.tokens for one in paid), default=None)
    return [
        *(Former(one.ended, one.tokens if first else 0) for one in paid for first in _each(one.calls)),
        *(Former(age, usual if first else 0) for age in under_way for first in _each(1 + repairs)),
    ]


def _each(calls: int) -> list[bool]:
    """For each call whether it is the one that the tokens are counted with."""
    return [number == 0 for number in range(calls)]
