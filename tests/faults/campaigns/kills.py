"""Real processes, roles apart on Kafka, Redis and PostgreSQL, killed at random moments and right after a promise."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import median

from tests.faults.findings import Figure, Observed
from tests.faults.fleet import Fleet, Poster, Toll
from tests.faults.fleet.catching import caught
from tests.flow.installations import on_kafka, on_postgresql, on_redis
from tests.flow.process import Process, until

KILLS, SHORT_KILLS = 100, 6
SESSION = 2.0
"""Seconds after which Kafka gives the partitions of a killed cj to another."""
READY, FLOWING = 3.0, SESSION + 3.0
MINUTES = 7
LATENCY = 1.0
"""Of the judge, in seconds: the work may not take all of a small machine, or a start waits for it."""
DEFECTS = {
    "accepted_before_it_is_stored": ("provider", "a 202 leaves before its row is durable"),
    "published_before_it_is_stored": ("provider", "a callback leaves before its outcome is stored"),
    "acknowledged_before_it_counts": ("cj", "an offset is committed before the callback counts"),
}
"""Whom to kill, and what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Kill:
    """`ready`: seconds from the start of the next life to its first 200 at /readyz."""

    role: str
    aimed: bool
    ready: float


def run(seed: int, *, full: bool) -> Observed:
    """Kill providers and cj processes in turn while they work; see `fleet.toll`."""
    with tempfile.TemporaryDirectory(prefix="juxta-faults-") as name:
        folder = Path(name)
        figures, complaints = _kill(folder / "sound", seed, full=full)
        for defect, (role, words) in DEFECTS.items() if full else ():
            found, why = caught(_maimed(folder / defect, defect), words, partial(_aim, role=role, seed=seed))
            figures.append(found)
            complaints += why
    return Observed(figures, complaints)


def _kill(folder: Path, seed: int, *, full: bool) -> tuple[list[Figure], list[str]]:
    wanted, each = (KILLS, 3) if full else (SHORT_KILLS, 2)
    fleet = Fleet(
        folder,
        (*on_kafka(session=SESSION), *on_redis(), *on_postgresql()),
        providers=each,
        cjs=each,
        latency=LATENCY,
        seed=seed,
    )
    with fleet:
        with fleet.working(2), fleet.posting(0.1) as poster:
            kills = _kill_in_turn(fleet, poster, Random(seed), wanted)
        fleet.settle(90.0)
        toll, waits, bugs = fleet.toll(), fleet.waits(), fleet.tracebacks()
    ready = [kill.ready for kill in kills]
    return [
        *_counts(kills, toll, wanted),
        *toll.figures(),
        Figure.none("errors in the logs", len(bugs)),
        _seconds("ready after a kill: slowest of all, s", max(ready), READY, full=full),
        _seconds("ready after a kill: median, s", median(ready), READY, full=full),
        _seconds("longest wait of a callback on its topic, s", max(waits, default=0.0), FLOWING, full=full),
    ], [*toll.complaints, *bugs]


def _counts(kills: list[Kill], toll: Toll, wanted: int) -> list[Figure]:
    roles = [kill.role for kill in kills]
    return [
        Figure.at_least("kills", len(kills), wanted),
        Figure.at_least("of these providers", roles.count("provider"), wanted // 2),
        Figure.at_least("of these right after a 202 or 201", sum(kill.aimed for kill in kills), wanted // 4),
        Figure.at_least("comparisons of cj", toll.comparisons, 5 * wanted),
        Figure.at_least("of these by callback", toll.by_callback, wanted),
        Figure.at_least("200 and 202 that others than cj got", toll.accepted, 5 * wanted),
    ]


def _seconds(name: str, value: float, bar: float, *, full: bool) -> Figure:
    return Figure.at_most(name, round(value, 2), bar) if full else Figure.told(name, round(value, 2))


def _kill_in_turn(fleet: Fleet, poster: Poster, random: Random, wanted: int) -> list[Kill]:
    """A provider, a cj, a provider: each is back before the next dies, and has a core of a small machine to itself.

    By then the partitions of the cj before have found somebody.
    """
    done: list[Kill] = []
    deadline = time.monotonic() + MINUTES * 60
    while len(done) < wanted and time.monotonic() < deadline:
        aimed = len(done) // 2 % 2 == 0
        if len(done) % 2 == 0:
            done.append(_kill_a_provider(fleet, poster, random, aimed=aimed))
        else:
            done.append(_kill_a_cj(fleet, random, aimed=aimed))
    return done


def _kill_a_provider(fleet: Fleet, poster: Poster, random: Random, *, aimed: bool) -> Kill:
    victim = random.choice(fleet.providers)
    aimed = aimed and poster.wait_for(202, victim.url, 5.0)
    if not aimed:
        time.sleep(random.uniform(0.0, 1.0))
    return _killed("provider", fleet, victim, aimed=aimed)


def _kill_a_cj(fleet: Fleet, random: Random, *, aimed: bool) -> Kill:
    victim = random.choice(fleet.cjs)
    if aimed:
        fleet.create(victim)
    else:
        time.sleep(random.uniform(0.0, 1.0))
    return _killed("cj", fleet, victim, aimed=aimed)


def _killed(role: str, fleet: Fleet, victim: Process, *, aimed: bool) -> Kill:
    fleet.kill(victim)
    return Kill(role, aimed, fleet.ready(fleet.restart(victim)))


def _maimed(folder: Path, defect: str) -> Fleet:
    """Everything comes by callback, so that a defect of that road has work."""
    queued = ("judges.simulated.direct_concurrency=0",)
    engines = (*on_kafka(session=SESSION), *on_redis(), *on_postgresql())
    function = f"promises:{defect}"
    return Fleet(folder, engines, latency=0.05, cjs=1, provider_options=queued, defect=function)


def _aim(fleet: Fleet, *, role: str, seed: int) -> None:
    """Kill one of the role, twice, while callbacks flow."""
    random = Random(seed)
    with fleet.working(2), fleet.posting() as poster:
        for _ in range(2):
            before = fleet.books.by_callback()
            until(lambda: fleet.books.by_callback() > before + 10, patience=60.0, every=0.1)  # noqa: B023 - called at once
            if role == "cj":
                _kill_a_cj(fleet, random, aimed=True)
            else:
                _kill_a_provider(fleet, poster, random, aimed=True)
