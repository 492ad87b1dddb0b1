"""Whether memory stays level over a long run: resident size at 20 % and at 100 % of 50,000 comparisons.

Set apart is what grows by design: the verdicts that the planner keeps of running batches. Their size is measured, not
estimated, at 20 % and again shortly before the end, because freed memory stays resident.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path

import punq
import uvloop
from sqlalchemy import text

from app.cj.planner import Planner
from app.engines import Databases
from benchmarks.flow import IN_FLIGHT, Dice, batch, finish, house
from benchmarks.result import Result

COMPARISONS = 50_000
BATCHES, ESSAYS, EACH = 10, 200, 50
EARLY, LATE = 0.20, 0.96
ALLOWED = 20.0
MEGABYTE = 1_000_000


def run() -> list[Result]:
    """How much of the growth allowed is left over; negative when it is exceeded."""
    growth, verdicts = uvloop.run(grow())
    name = f"memory, grown by {growth:.1f} MB of {ALLOWED:.0f} (+ {verdicts:.1f} MB verdicts)"
    return [Result(name, ALLOWED - growth, ALLOWED, "MB left", 0.0)]


async def grow() -> tuple[float, float]:
    """Growth in MB from 20 % to 100 % without the verdicts, and that of the verdicts."""
    async with house(Dice(), concurrency=IN_FLIGHT, direct=0) as container:
        batches = (batch(ESSAYS, EACH, seed=n) for n in range(BATCHES))
        running = asyncio.create_task(finish(container, *batches))
        await _share_is_done(container, EARLY)
        early, early_verdicts = resident(), verdicts_kept(container.resolve(Planner))
        await _share_is_done(container, LATE)
        verdicts = verdicts_kept(container.resolve(Planner)) - early_verdicts
        await running
        return resident() - early - verdicts, verdicts


async def _share_is_done(container: punq.Container, share: float) -> None:
    databases: Databases = container.resolve(Databases)
    sql = text("SELECT coalesce(sum(decided), 0) FROM batches")
    done = 0
    while done < share * COMPARISONS:
        await asyncio.sleep(0.05)
        done = await databases.cj.read(lambda connection: connection.execute(sql).scalar_one())


def resident() -> float:
    """MB of this process that are in memory now, after a garbage collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def verdicts_kept(planner: Planner) -> float:
    """MB of verdicts and planned pairs in the planner; numbers are shared, tuples and lists are not."""
    size = 0
    for memory in planner._memories.values():
        size += sum(map(sys.getsizeof, (memory.first, memory.second, memory.share, memory.pairs)))
        size += sum(map(sys.getsizeof, memory.pairs))
    return size / MEGABYTE


if __name__ == "__main__":
    for result in run():
        print(f"{result.name}: {result.ours:.1f} {result.unit}")
