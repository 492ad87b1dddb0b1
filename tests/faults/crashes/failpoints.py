"""Where a life can die: before or after the n-th passage of a step, before or after a commit, or at any moment."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from itertools import count
from random import Random
from typing import Any, NoReturn

import punq
from sqlalchemy import Connection

from app.bus.protocol import Bus
from app.cj.event_processor import EventProcessor
from app.cj.planner import Planner
from app.cj.provider_client import ProviderClient
from app.cj.store import BatchStore
from app.database import sqlite
from app.engines import Databases
from app.provider.judges.simulated import PROVIDER
from app.provider.queue.protocol import RequestQueue

Arm = Callable[[punq.Container], None]


class Phase(Enum):
    """What the life that is to die does: work on the batch, open an empty house, or erase."""

    WORK = "work"
    FIRST = "first"
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class Death:
    """How a life ends: at a failpoint, or at the latest `seconds` after it opened the house.

    Or after the fork (`from_fork`), or after it last wrote into the diary (`while_silent`).
    """

    name: str
    seconds: float = 0.5
    arm: Arm = lambda _: None
    from_fork: bool = False
    while_silent: bool = False
    phase: Phase = Phase.WORK


NOTHING = Death("nothing")


class Step(Enum):
    """Every step of a comparison, a batch and a start, by the method that takes it, and its likely passages in a life."""

    PLAN = (Planner, "plan", 4)
    PLAN_COMMIT = (BatchStore, "commit_plan", 3)
    FINISH = (BatchStore, "commit_plan", 0)
    CLAIM = (BatchStore, "claim", 4)
    POST = (ProviderClient, "generate_comparison", 8)
    ACCEPT = (RequestQueue, "accept", 8)
    PROMISE = (RequestQueue, "promise_callback", 2)
    LEASE = (RequestQueue, "lease", 4)
    LEASE_CLOSING = (RequestQueue, "lease_closing", 2)
    RELEASE = (RequestQueue, "release", 1)
    CALL = ("judge", "compare", 8)
    STORE = (RequestQueue, "store", 8)
    PUBLISH = (Bus, "publish", 6)
    MARK = (RequestQueue, "mark_published", 6)
    CONSUME = (EventProcessor, "handle", 5)
    APPLY = (BatchStore, "record", 8)
    POSTPONE = (BatchStore, "postpone", 5)
    RECOVER_CJ = (BatchStore, "repair_all", 1)
    RECOVER_LEDGER = ("ledger", "open", 1)
    MIGRATION = ("migration", "migrate", 3)
    ERASE = (BatchStore, "change", 1)
    BURY = (BatchStore, "bury", 2)


def deaths(step: Step, random: Random) -> Iterator[Death]:
    """Die before the step and after it."""
    part, method, passages = step.value
    phase = {Step.MIGRATION: Phase.FIRST, Step.ERASE: Phase.ERASE, Step.BURY: Phase.ERASE}.get(
        step, Phase.WORK
    )
    name = step.name.lower().replace("_", " ")
    for when in ("before", "after"):
        nth = random.randint(1, max(1, passages))
        arm = at_finish(when) if step is Step.FINISH else at(part, method, when, nth)
        seconds = 3.0 if step is Step.FINISH else 0.5
        yield Death(f"{when} {name}", seconds, arm, phase=phase)


def failpoints() -> set[str]:
    """The names of all deaths that are no matter of chance."""
    return {death.name for death in deck(Random(0)) if not death.name.startswith(CHANCE)}


CHANCE = "at random"


def deck(random: Random) -> list[Death]:
    """Every failpoint once, commits several times, and a third of all at random moments; shuffled."""
    found = [death for step in Step for death in deaths(step, random)]
    found += [
        Death(f"{when} commit of {db}", arm=at_commit(db, when, random.randint(1, 20)))
        for db in ("cj", "provider") * 3
        for when in ("before", "after")
    ]
    found += [
        Death(f"{when} commit of an erasure", arm=at_commit("cj", when, 1 + n), phase=Phase.ERASE)
        for when in ("before", "after")
        for n in range(2)
    ]
    found += [Death("at random", random.uniform(0.0, 0.2)) for _ in range(24)]
    found += [Death("at random, opening", random.uniform(0.0, 0.08), from_fork=True) for _ in range(6)]
    found += [
        Death("at random, migrating", random.uniform(0.0, 0.3), from_fork=True, phase=Phase.FIRST)
        for _ in range(2)
    ]
    random.shuffle(found)
    return found


def at(part: object, method: str, when: str, nth: int) -> Arm:
    """A failpoint at a method of a part."""

    def arm(container: punq.Container) -> None:
        owner = _owner(part, container)
        original: Callable[..., Any] = getattr(owner, method)
        passages = count(1)

        async def mortal(*args: Any, **more: Any) -> object:
            last = next(passages) == nth
            if last and when == "before":
                die()
            result = await original(*args, **more)
            if last:
                die()
            return result

        def mortal_at_once(*args: Any, **more: Any) -> object:
            last = next(passages) == nth
            if last and when == "before":
                die()
            result = original(*args, **more)
            if last:
                die()
            return result

        setattr(owner, method, mortal if inspect.iscoroutinefunction(original) else mortal_at_once)

    return arm


def _owner(part: object, container: punq.Container) -> Any:
    match part:
        case "judge":
            return container.resolve("judges")[PROVIDER]
        case "ledger":
            queue: Any = container.resolve(RequestQueue)
            return queue._ledger
        case "migration":
            return sqlite
        case _:
            return container.resolve(part)


def at_finish(when: str) -> Arm:
    """A failpoint at the plan that ends the batch."""

    def arm(container: punq.Container) -> None:
        store: Any = container.resolve(BatchStore)
        original = store.commit_plan

        async def mortal(plan: Any) -> object:
            if plan.finished and when == "before":
                die()
            result = await original(plan)
            if plan.finished:
                die()
            return result

        store.commit_plan = mortal

    return arm


def at_commit(name: str, when: str, nth: int) -> Arm:
    """A failpoint inside a write transaction, with all its changes made, or just after its commit."""

    def arm(container: punq.Container) -> None:
        database: Any = getattr(container.resolve(Databases), name)
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
    """End this process as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")
