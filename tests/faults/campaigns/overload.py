"""Overload: ten times what the judge can do, for a minute, and what the house owes afterwards."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from tests.faults.embedded.house import create, house, miscounts, open_requests, resident, unfinished
from tests.faults.embedded.posts import CUT, HUNG, Reply, broken_promises, nth, posting, promised
from tests.faults.findings import Figure, Observed
from tests.flow.process import Process, until

JUDGE = 30
"""Comparisons a second: six at once, a fifth of a second each."""

TIMES = 10
LIMIT = 1_200
"""Requests that may wait: what comes on top is answered 429."""

CLIENTS = 250
MEBIBYTE = 2**20
SETTINGS = (
    "judges.simulated.latency=0.2",
    "judges.simulated.concurrency=6",
    "judges.simulated.direct_concurrency=3",
    f"queue.limit={LIMIT}",
)
DEFECT, DEFECT_SAYS = "limits:unbounded_line", "an unbounded line"
PATIENCE = 120.0
"""Seconds in which a crowd on a busy machine has to have sent enough to fill the line."""


@dataclass(frozen=True, slots=True)
class Flood:
    """What was seen of one flood; `longest` is the greatest number of requests that were open at once."""

    answers: Sequence[Reply]
    seconds: float
    drained: float
    longest: int
    resident: int
    broken: Sequence[str]

    def times(self, *statuses: int) -> list[float]:
        return [answer.seconds for answer in self.answers if answer.status in statuses]


def run(seed: int, *, full: bool) -> Observed:
    """Flood a house, let it drain, read what became of every promise; then flood one whose line has no bound."""
    seconds, limit = (60.0, LIMIT) if full else (4.0, 200)
    found = flood(seconds, limit=limit, seed=seed)
    statuses = Counter(answer.status for answer in found.answers)
    refused = found.times(429, 503)
    late = nth([answer.late for answer in found.answers], 0.99)
    gone = [answer for answer in found.answers if answer.status in {HUNG, CUT}]
    unnamed = [answer for answer in found.answers if answer.status in {429, 503} and not answer.retry_after]
    offered = len(found.answers) / found.seconds / JUDGE
    bound = limit + CLIENTS
    figures = [
        Figure.at_least("seconds of overload", round(found.seconds, 1), seconds),
        _timed(Figure.at_least("times what the judge can do", round(offered, 1), TIMES * 0.9), full=full),
        Figure.at_least("clients at once", CLIENTS, 200),
        _timed(Figure.at_most("the crowd's own delay, p99, ms", milliseconds(late), 50), full=full),
        Figure.at_least("answered 202", statuses[202], 1),
        _timed(Figure.at_most("202: p99, ms", milliseconds(nth(found.times(202), 0.99)), 250), full=full),
        Figure.at_least("answered 429 or 503", len(refused), 1),
        _timed(Figure.at_most("429 or 503: p99, ms", milliseconds(nth(refused, 0.99)), 50), full=full),
        Figure.none("429 or 503 without Retry-After", len(unnamed)),
        Figure.none("anything but 200, 202, 429, 503", len(found.answers) - _regular(statuses)),
        Figure.at_most("requests open at once", found.longest, bound),
        Figure.at_most("RSS at its greatest, MB", round(found.resident / MEBIBYTE), 400),
        Figure.at_most(
            "seconds until nothing was open", round(found.drained, 1), round(2 * limit / JUDGE + 20)
        ),
        Figure.at_least("promises: answered 200 or 202", len(promised(found.answers)), 1),
        Figure.none("of these not kept, and what a batch lost or counted twice meanwhile", len(found.broken)),
    ]
    unbounded = flood(seconds if not full else 10.0, limit=200, seed=seed, defect=DEFECT, drain=False)
    caught = unbounded.longest > 200 + CLIENTS or not unbounded.times(429)
    figures.append(
        Figure(f"seeded defect: {DEFECT_SAYS}", "caught" if caught else "not caught", "caught", caught)
    )
    complaints = [*found.broken[:20], *(f"no answer: {answer}" for answer in gone[:5])]
    return Observed(figures, complaints)


def flood(seconds: float, *, limit: int, seed: int, defect: str = "", drain: bool = True) -> Flood:
    """Post for so long; with `drain` wait until nothing is open, restart, and hold the ledger to its promises."""
    with tempfile.TemporaryDirectory(prefix="overload-") as name:
        folder = Path(name)
        with house(folder, *SETTINGS, f"queue.limit={limit}", defect=defect) as process:
            create(process, seed=seed)
            with Gauge(process) as gauge:
                began = time.monotonic()
                with posting(process.url, rate=TIMES * JUDGE, clients=CLIENTS) as crowd:
                    time.sleep(seconds)
                    until(lambda: _enough(crowd.answers, limit, time.monotonic() - began), patience=PATIENCE)
                    took = time.monotonic() - began
                began = time.monotonic()
                if drain:
                    patience = 4 * limit / JUDGE + 60
                    until(lambda: not open_requests(folder), patience=patience, every=0.2)
                    until(lambda: not unfinished(folder), patience=patience, every=0.2)
            drained = time.monotonic() - began
        broken = [*broken_promises(folder, crowd.answers), *miscounts(folder)] if drain else []
        return Flood(crowd.answers, took, drained, gauge.longest, gauge.resident, broken)


class Gauge:
    """Looks ten times a second how long the line is and how much memory the process has."""

    def __init__(self, process: Process) -> None:
        self.longest = self.resident = 0
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="gauge")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.longest = max(self.longest, open_requests(self._process.folder))
            self.resident = max(self.resident, resident(self._process))


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _enough(answers: Sequence[Reply], limit: int, seconds: float) -> bool:
    """Whether more was answered than the judge can have judged and the line can hold."""
    return len(answers) > limit + CLIENTS + JUDGE * seconds


def _timed(figure: Figure, *, full: bool) -> Figure:
    """The short form runs beside other tests, where times say nothing of the house: they are told, not judged."""
    return figure if full else replace(figure, bar=f"{figure.bar} in the full form", met=True)


def _regular(statuses: Counter[int]) -> int:
    return sum(statuses[status] for status in (200, 202, 429, 503))
