"""The engines: Redis and PostgreSQL killed, hung, emptied, filled, locked and set to lose what they hold."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import psycopg

from tests.engines import PostgreSQL, Redis
from tests.faults.engine_faults import (
    BATCHES_LOCKED,
    LOCKED_LONG,
    POSTGRESQL_HUNG,
    POSTGRESQL_KILLED,
    REDIS_EMPTIED,
    REDIS_EVICTING,
    REDIS_FULL,
    REDIS_HUNG,
    REDIS_KILLED,
    REQUESTS_LOCKED,
    Outages,
)
from tests.faults.findings import Figure, Observed
from tests.faults.fleet import Fleet, Poster, Toll
from tests.flow.installations import on_kafka, on_postgresql, on_redis

REDIS_QUEUE = {
    REDIS_KILLED: 6,
    REDIS_FULL: 5,
    REDIS_HUNG: 5,
    REDIS_EVICTING: 2,
    POSTGRESQL_KILLED: 4,
    BATCHES_LOCKED: 3,
}
EMPTIED = 5
SQL_QUEUE = {
    POSTGRESQL_KILLED: 8,
    POSTGRESQL_HUNG: 4,
    REQUESTS_LOCKED: 6,
    BATCHES_LOCKED: 5,
    LOCKED_LONG: 2,
}
SHORT = {REDIS_KILLED: 1, REDIS_FULL: 1, POSTGRESQL_KILLED: 1, BATCHES_LOCKED: 1}
SHORT_EMPTIED = 1
SEEDED = {REDIS_KILLED: 2, REDIS_FULL: 2}
FAULTS = EMPTIED + sum(REDIS_QUEUE.values()) + sum(SQL_QUEUE.values())
DEFECT = "promises:accept_on_trust"

LONG = 30.0
HEALED, SHORT_HEALED = 5.0, 20.0
"""Seconds from the moment at which an engine serves again to the first progress; the short form runs on busy machines."""
NOTICED = 6.0
"""Seconds: a Redis in use is examined every five."""
STUCK = 60.0
SETTLED = 60.0
OPTIONS = (
    "redis.timeout=1",
    "database.deadline=2",
    "database.lock_timeout=0.5",
    "provider.patience=2",
    "cj.repair_after=2",
)


@dataclass
class Found:
    """What became of a fleet; `healed` in seconds, for each fault."""

    toll: Toll = field(default_factory=Toll)
    faults: Counter[str] = field(default_factory=Counter)
    healed: list[tuple[float, str]] = field(default_factory=list)
    noticed: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def run(seed: int, *, full: bool) -> Observed:
    """Trouble the engines one fault after the other, and look how soon work goes on; then everything has to end."""
    found = Found()
    if full:
        _trouble(found, seed, REDIS_QUEUE, emptied=EMPTIED, in_redis=True)
        _trouble(found, seed + 1, SQL_QUEUE, in_redis=False)
    else:
        _trouble(found, seed, SHORT, emptied=SHORT_EMPTIED, in_redis=True, several=1)
    figures = _figures(found, full=full)
    if full:
        seeded = Found()
        _trouble(seeded, seed, SEEDED, in_redis=True, several=1, defect=DEFECT)
        broken = seeded.toll.unkept
        figures.append(
            Figure(
                "seeded: an acceptance that Redis refused is taken for done",
                f"{broken} promises not kept",
                "caught",
                broken > 0,
            )
        )
    return Observed(figures, [*found.toll.complaints, *found.complaints])


def _figures(found: Found, *, full: bool) -> list[Figure]:
    faults = FAULTS if full else sum(SHORT.values()) + SHORT_EMPTIED
    slowest, what = max(found.healed)
    bar = HEALED if full else SHORT_HEALED
    return [
        Figure.at_least("faults", found.faults.total(), faults),
        *(Figure.at_least(name, times, 1) for name, times in found.faults.items()),
        Figure.at_least("comparisons", found.toll.comparisons, 200 if full else 20),
        Figure.at_least("posts that were accepted", found.toll.accepted, 100 if full else 10),
        *found.toll.figures(),
        Figure.at_most("healed after, p50, s", round(median(seconds for seconds, _ in found.healed), 1), bar),
        Figure.at_most(f"healed after, slowest ({what}), s", round(slowest, 1), bar),
        *(
            [
                Figure.at_most(
                    "evicting Redis refused after, slowest, s", round(max(found.noticed), 1), NOTICED
                )
            ]
            if found.noticed
            else []
        ),
    ]


def _trouble(
    found: Found,
    seed: int,
    faults: dict[str, int],
    *,
    in_redis: bool,
    emptied: int = 0,
    several: int = 2,
    defect: str | None = None,
) -> None:
    """One fleet whose queue is in Redis, or in PostgreSQL as its batches are."""
    random = Random(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="juxta-engines-")))
        redis, postgresql = Redis(), PostgreSQL(fsync=False)
        for server in (redis, postgresql):
            stack.callback(server.close)
            server.start()
        database = on_postgresql(postgresql)
        engines = (*on_kafka(), *(on_redis(redis) if in_redis else ()), *database)
        outages = Outages(redis, postgresql, database[-1].partition("=")[2], long=LONG)
        fleet = stack.enter_context(
            Fleet(
                folder / "fleet",
                engines,
                providers=several,
                cjs=several,
                options=OPTIONS,
                defect=defect,
                seed=seed,
            )
        )
        outages.providers = lambda: fleet.providers
        strike = partial(_strike, found=found, outages=outages, fleet=fleet, random=random)
        with fleet.working(2 * several, essays=15):
            for _ in range(
                emptied
            ):  # what others were promised is lost with it, so nobody else asks meanwhile
                strike(REDIS_EMPTIED, poster=None)
            if emptied:
                fleet.forget()
            with fleet.posting(0.05) as poster:
                order = [name for name, times in faults.items() for _ in range(times)]
                random.shuffle(order)
                for name in order:
                    strike(name, poster=poster)
        fleet.settle(SETTLED if defect is None else SETTLED / 4)
        found.toll += fleet.toll()
        found.noticed += outages.noticed
        found.complaints += [
            f"{p.folder.name} ended: {p.stderr[-1000:]}"
            for p in fleet.processes
            if p.child.poll() is not None
        ]


def _strike(
    name: str, *, found: Found, outages: Outages, fleet: Fleet, poster: Poster | None, random: Random
) -> None:
    """Wait until work goes on, do it, and measure how soon it goes on again."""
    _progress(fleet, poster, time.monotonic())
    time.sleep(random.uniform(0.1, 0.5))
    outages.strike(name, random.uniform(0.3, 2.5))
    served_at = time.monotonic()
    found.faults[name] += 1
    if _progress(fleet, poster, served_at):
        found.healed.append((time.monotonic() - served_at, name))
    else:
        found.healed.append((STUCK, name))
        found.complaints.append(f"no progress within {STUCK:g} s of {name}")
        found.complaints += [f"{p.folder.name}: … {p.stderr[-1000:]}" for p in fleet.processes]


def _progress(fleet: Fleet, poster: Poster | None, since: float) -> bool:
    """Return when a comparison was decided since, and a request accepted that was sent since; False when none ever is."""
    decided = _decided(fleet)
    while time.monotonic() < since + STUCK:
        accepted = poster is None or any(
            answer.accepted and answer.sent_at > since for answer in poster.answers[-200:]
        )
        if accepted and decided >= 0 and _decided(fleet) > decided:
            return True
        if decided < 0:
            decided = _decided(fleet)
        time.sleep(0.05)
    return False


def _decided(fleet: Fleet) -> int:
    """-1 while PostgreSQL does not say."""
    try:
        ((decided,),) = fleet.books.cj("SELECT count(*) FROM comparisons WHERE state = 'decided'")
    except psycopg.Error:
        return -1
    return int(decided)
