"""A house that is killed again and again: `python -m tests.flow.mortal FOLDER SEED` prints how each life ended.

This process has no threads and has imported everything, so that each life is one fork away. A life opens the house on
the same folder, goes on with the one batch, and is ended by SIGKILL: at a random moment, while it opens, or at a
failpoint, which is a method of a part that kills the process just before or just after its n-th call, or a write
transaction that is killed before or after its commit.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import anyio
import punq
from sqlalchemy import Connection

from app.bus.protocol import Bus
from app.cj.batch import NewBatch
from app.cj.event_processor import EventProcessor
from app.cj.store import BatchStore
from app.container import bootstrap, running
from app.contracts import LLMComparisonRequest
from app.engines import Databases
from app.provider.judges.simulated import PROVIDER
from app.provider.queue.protocol import RequestQueue

from .house import HeldJudge, House, batch_of, settings_in

ESSAYS = 30  # enough work that the batch outlives every planned death
PAIRS = ESSAYS * (ESSAYS - 1) // 2
CONCURRENCY = 4
LAST_LIFE = 40.0
"""Seconds for the life that nobody ends: far less than any lease, claim or repair deadline of the settings."""

SETTINGS = (
    f"judges.simulated.concurrency={CONCURRENCY}",
    "judges.simulated.direct_concurrency=2",
    "cj.concurrency=16",
    "provider.patience=0.05",  # a call in five is slower than this
    "queue.max_tries=100",  # so that kills alone never exhaust a row: a pair asked anew would be planned elsewhere
    "log.level=error",
)
POINTS: tuple[tuple[object, str], ...] = (
    *(
        (RequestQueue, n)
        for n in ("accept", "promise_callback", "lease", "begin_try", "store", "mark_published")
    ),
    *((BatchStore, name) for name in ("claim", "record", "postpone", "commit_plan")),
    (Bus, "publish"),
    (EventProcessor, "handle"),
    ("judge", "compare"),
)


def the_batch() -> NewBatch:
    """Every pair of `ESSAYS` essays."""
    return batch_of(ESSAYS, comparisons_per_essay=ESSAYS - 1)


@dataclass(frozen=True)
class Death:
    """How a life ends: at a failpoint, or at the latest `seconds` after it opened the house, or after the fork."""

    name: str
    seconds: float = 0.4
    arm: Callable[[punq.Container], None] = lambda _: None
    from_fork: bool = False


def deaths(random: Random) -> list[Death]:
    """Every failpoint once, as many random moments, and some deaths while the house opens; in a random order."""
    found = [
        Death(f"{w} {m}", arm=at(s, m, w, random.randint(1, 6)))
        for s, m in POINTS
        for w in ("before", "after")
    ]
    found += [
        Death(f"{when} commit of {db}", arm=at_commit(db, when, random.randint(1, 25)))
        for db in ("cj", "provider")
        for when in ("before", "after")
    ]
    found += [Death("while open", random.uniform(0.0, 0.3)) for _ in range(10)]
    found += [Death("while opening", random.uniform(0.0, 0.1), from_fork=True) for _ in range(4)]
    random.shuffle(found)
    return found


def at(service: object, method: str, when: str, nth: int) -> Callable[[punq.Container], None]:
    """A failpoint at a method of a part."""

    def arm(container: punq.Container) -> None:
        part: Any = (
            container.resolve("judges")[PROVIDER] if service == "judge" else container.resolve(service)
        )
        original: Callable[..., Awaitable[object]] = getattr(part, method)
        passages = count(1)

        async def mortal(*args: Any, **more: Any) -> object:
            last = next(passages) == nth
            if last and when == "before":
                die()
            result = await original(*args, **more)
            if last:
                die()
            return result

        setattr(part, method, mortal)

    return arm


def at_commit(name: str, when: str, nth: int) -> Callable[[punq.Container], None]:
    """A failpoint inside a write transaction, with all its changes made, or just after its commit."""

    def arm(container: punq.Container) -> None:
        databases: Databases = container.resolve(Databases)
        database: Any = getattr(databases, name)
        write, submit_write = database.write, database.submit_write
        passages = count(1)

        def last_work(work: Callable[[Connection], object]) -> Callable[[Connection], object]:
            def last(connection: Connection) -> object:
                work(connection)
                die()

            return last

        async def mortal_write(work: Callable[[Connection], object]) -> object:
            last = next(passages) == nth
            result = await write(last_work(work) if last and when == "before" else work)
            if last:
                die()
            return result

        def mortal_submit_write(work: Callable[[Connection], object]) -> Future[object]:
            last = next(passages) == nth
            future: Future[object] = submit_write(last_work(work) if last and when == "before" else work)
            if last:
                future.add_done_callback(lambda _: die())
            return future

        database.write, database.submit_write = mortal_write, mortal_submit_write

    return arm


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


async def live(folder: Path, death: Death, opened: int) -> None:
    """One life, to the end of the batch and of everything the provider owes."""
    calls = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def note(request: LLMComparisonRequest) -> None:
        os.write(calls, f"{request.correlation_id}\n".encode())
        await anyio.sleep(0.002 if request.correlation_id.int % 5 else 0.08)

    container = bootstrap(settings_in(folder, *SETTINGS))
    container.register("judges", instance={PROVIDER: HeldJudge(note)})
    death.arm(container)
    house = House(container)
    async with running(container):
        os.write(opened, b"!")
        known = await house.views.batches()
        batch_id = known[0].id if known else await house.workflow.create(the_batch(), start=True)
        await house.finish(batch_id)
        while await house.queue.stats():  # noqa: ASYNC110 - the last marks follow the last verdict
            await anyio.sleep(0.01)


def one_life(folder: Path, death: Death) -> int | None:
    """Fork a life and end it as told; returns its exit status, None when it was killed."""
    reading, writing = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            anyio.run(live, folder, death, writing)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    if not death.from_fork:
        select.select([reading], [], [], LAST_LIFE)
        began = time.monotonic()
    os.close(reading)
    while True:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
        if time.monotonic() >= began + death.seconds:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.001)


def lives(folder: Path, seed: int) -> Iterator[str]:
    """Live until the batch has ended; yields how each former life ended."""
    for death in deaths(Random(seed)):
        status = one_life(folder, death)
        if status is None:
            yield death.name
        elif status != 0:
            raise RuntimeError(f"the life that should end by '{death.name}' ended with exit status {status}")
    if (status := one_life(folder, Death("nothing", LAST_LIFE))) != 0:
        raise RuntimeError(f"the last life did not bring the batch to its end: {status}")


if __name__ == "__main__":
    print(json.dumps(list(lives(Path(sys.argv[1]), int(sys.argv[2])))))
