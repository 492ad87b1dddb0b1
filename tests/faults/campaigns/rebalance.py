"""The rebalance storm: cj processes of one group killed, stopped, hung and added while callbacks pour in."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random

import psycopg

from tests.faults.findings import Figure, Observed
from tests.faults.fleet import Fleet, Toll
from tests.flow.installations import on_kafka, on_postgresql, on_redis
from tests.flow.process import Process, until

CJS = 3
DEPARTURES, CALLBACKS, SECONDS = 40, 10_000, 480.0
SHORT_DEPARTURES, SHORT_CALLBACKS = 3, 100
SETTLED = 90.0
SESSION = 2.0
"""Seconds of silence after which Kafka gives the partitions of a process to the others."""

KINDS = ("kill", "kill", "stop", "hang")
LOCKED = 1.0
LOCKED_SHARE = 1 / 3
"""Of the departures: the store is locked meanwhile, so that whoever goes has callbacks in hand that are not stored."""

PROVIDER = ("judges.simulated.direct_concurrency=0", "judges.simulated.concurrency=32")
NO_REPAIR = ("cj.repair_after=86400",)
"""Nobody asks again for a callback that does not come: a lost one stays lost, and is counted."""

DEFECTS = {
    "offsets committed when records are fetched": "committed_when_fetched",
    "offsets committed past a failure": "committed_past_a_failure",
}


class Storm:
    """Who is to go, in which way, and back again."""

    def __init__(self, fleet: Fleet, random: Random) -> None:
        self.departures: Counter[str] = Counter()
        self._fleet = fleet
        self._random = random

    def blow(self) -> None:
        """One or two go at once, perhaps with the store locked; return when they are back."""
        victims = self._random.sample(self._fleet.cjs, self._random.choice([1, 1, 2]))
        locked = self._random.random() < LOCKED_SHARE
        with locked_store(self._fleet) if locked else nullcontext(), ThreadPoolExecutor() as pool:
            time.sleep(self._random.uniform(0.2, 0.8) * locked)
            for _ in pool.map(self._go, victims):
                pass
        time.sleep(self._random.uniform(0, 1.5))
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(self._fleet.restart, [one for one in victims if one.child.poll() is not None]):
                pass

    def _go(self, process: Process) -> None:
        kind = self._random.choice(KINDS)
        self.departures[kind] += 1
        if kind == "kill":
            self._fleet.kill(process)
        elif kind == "stop":
            self._fleet.mean(process)
            if status := process.stop():
                self._fleet.unexpected.append(f"a stopped cj ended with {status}: {process.stderr[-500:]}")
        else:
            process.pause()
            time.sleep(SESSION + self._random.uniform(0.5, 2))
            process.resume()


@contextmanager
def locked_store(fleet: Fleet, seconds: float = LOCKED) -> Iterator[None]:
    """For a while nothing can be recorded, whatever comes meanwhile."""
    with psycopg.connect(fleet.deployment.settings["database.url"]) as stranger:
        stranger.execute("LOCK TABLE juxta_cj.batches, juxta_cj.comparisons IN ACCESS EXCLUSIVE MODE")
        over_at = time.monotonic() + seconds
        try:
            yield
        finally:
            time.sleep(max(0.0, over_at - time.monotonic()))


def run(seed: int, *, full: bool) -> Observed:
    """Storm until enough went and enough callbacks came; the full form shows that two defects are noticed."""
    with tempfile.TemporaryDirectory(prefix="juxta-rebalance-", ignore_cleanup_errors=True) as folder:
        figures, complaints = _storm(Path(folder) / "fleet", Random(seed), full=full)
        if full:
            for name, defect in DEFECTS.items():
                toll = _with_a_defect(Path(folder) / defect, defect)
                found = f"caught: {toll.lost} lost" if toll.lost else "not caught"
                figures.append(Figure(f"seeded defect: {name}", found, "caught", bool(toll.lost)))
    return Observed(figures, complaints)


def _storm(folder: Path, random: Random, *, full: bool) -> tuple[list[Figure], Sequence[str]]:
    departures, callbacks = (DEPARTURES, CALLBACKS) if full else (SHORT_DEPARTURES, SHORT_CALLBACKS)
    with _fleet(folder, cjs=CJS, seed=random.randrange(10**6)) as fleet:
        storm, give_up_at = Storm(fleet, random), time.monotonic() + SECONDS
        with fleet.working(16 if full else 4):
            until(lambda: fleet.books.by_callback() > 0, every=0.1)
            while storm.departures.total() < departures or fleet.books.by_callback() < callbacks:
                if time.monotonic() > give_up_at:
                    fleet.complaints.append(f"given up after {SECONDS:g} s")
                    break
                if storm.departures.total() < 2 * departures:
                    storm.blow()
                time.sleep(random.uniform(0.2, 1))
        fleet.settle(SETTLED)
        toll = fleet.toll()
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(storm.departures.items()))
    gone = storm.departures.total()
    figures = [
        Figure.at_least(f"departures of cj processes: {kinds}; as many came back", gone, departures),
        Figure.at_least("comparisons by callback", toll.by_callback, callbacks),
        *toll.figures(),
    ]
    return figures, toll.complaints


def _with_a_defect(folder: Path, defect: str) -> Toll:
    """Both defects show when the store is locked: one by whoever is killed then, the other by whoever gives up."""
    with _fleet(folder, cjs=2, defect=f"bus:{defect}") as fleet:
        with fleet.working(8):
            for turn in range(4):
                until(lambda: fleet.books.by_callback() > 50 * turn, every=0.1)  # noqa: B023 - called at once
                victim = fleet.cjs[turn % 2]
                with locked_store(fleet, 2 * LOCKED):
                    time.sleep(1.5 * LOCKED)
                    fleet.kill(victim)
                fleet.restart(victim)
        fleet.settle(15.0)
        return fleet.toll()


def _fleet(folder: Path, *, cjs: int, defect: str | None = None, seed: int = 0) -> Fleet:
    engines = (*on_kafka(session=SESSION), *on_redis(), *on_postgresql(), "database.lock_timeout=0.5")
    return Fleet(
        folder,
        engines,
        cjs=cjs,
        latency=0.01,
        provider_options=PROVIDER,
        cj_options=NO_REPAIR,
        defect=defect,
        seed=seed,
    )
