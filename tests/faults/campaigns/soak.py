"""Soak and recovery: does memory grow with work, and how soon is a house ready that has much to do?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import anyio

from app.contracts import LLMComparisonRequest, LLMConfigOverrides
from app.database.sqlite import SqliteDatabase
from app.provider.judges.simulated import MODEL, PROVIDER
from app.provider.queue.protocol import QueuedRequest
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import MIGRATIONS
from tests.faults.embedded.house import (
    UNREAD,
    Held,
    create,
    held,
    house,
    miscounts,
    open_requests,
    ready,
    unfinished,
)
from tests.faults.findings import Figure, Observed
from tests.flow.house import QUESTION, essay, furnish, rows
from tests.flow.process import Process, until

ESSAYS, EACH = 40, 10
"""The last wave of a batch has the 200 verdicts from which stated confidence is tried: the dearest fit, once in each."""

BATCH = ESSAYS * EACH // 2
AT_ONCE = 24
COMPARISONS, SHORT_COMPARISONS = 100_000, 2_400
QUEUED, SHORT_QUEUED = 50_000, 5_000
FIRST, SHORT_FIRST = 0.2, 0.5
"""What is loaded, cached and pooled by then is not counted as growth."""

MEBIBYTE = 2**20
GROWTH = 20
OBJECTS = 0.05
KEPT, SHORT_KEPT = 0.05, 0.75
"""Growth by comparison: what is kept for each shows itself here long before it shows in megabytes.

Pools and caches fill up at first, and the results of one batch (`Ended`) were seen to be held still at the end: half of
what the short form adds. Of all objects only the full form can tell that from growth, of one class both can.
"""

READY, SHORT_READY = 5.0, 60.0
PATIENCE = 900.0
DEFECT, DEFECT_SAYS = "limits:keep_every_comparison", "a list that keeps every comparison"
SETTINGS = ("judges.simulated.direct_concurrency=16",)
"""A third of the simulated judge's slots: so both roads are walked."""


@dataclass(frozen=True, slots=True)
class Soak:
    """What a house held after its first share and at the end, with nothing under way at either time."""

    comparisons: int
    by_callback: int
    seconds: float
    early: Held
    late: Held
    between: int
    wrong: Sequence[str]

    @property
    def megabytes(self) -> float:
        return round((self.late.resident - self.early.resident) / MEBIBYTE, 1)

    @property
    def objects(self) -> float:
        return round((self.late.objects - self.early.objects) / self.between, 4)

    @property
    def kept(self) -> tuple[str, float]:
        """The class of ours that grew most, and by how much for each comparison."""
        grown = {name: count - self.early.ours.get(name, 0) for name, count in self.late.ours.items()}
        name = max(grown, key=grown.__getitem__)
        return name, round(grown[name] / self.between, 4)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds from the start of the process to its readiness, and to the end of what was queued."""

    empty: float
    ready: float
    drained: float
    unanswered: int


def run(seed: int, *, full: bool) -> Observed:
    """Soak one house; start another with much to do; soak a third that forgets nothing."""
    comparisons, queued = (COMPARISONS, QUEUED) if full else (SHORT_COMPARISONS, SHORT_QUEUED)
    bar = KEPT if full else SHORT_KEPT
    first = FIRST if full else SHORT_FIRST
    soaked = soak(comparisons, seed=seed, first=first)
    found = recovery(queued)
    defective = soak(SHORT_COMPARISONS, seed=seed, first=SHORT_FIRST, defect=DEFECT)
    grew, by = soaked.kept
    caught = defective.kept[1] > SHORT_KEPT
    longest = READY if full else SHORT_READY
    figures = [
        Figure.at_least("comparisons", soaked.comparisons, comparisons),
        Figure.at_least("of these by callback", soaked.by_callback, 1),
        Figure.none("lost, counted twice, or not as a recount", len(soaked.wrong)),
        Figure.at_most(f"RSS after gc, growth from {first:.0%} to the end, MB", soaked.megabytes, GROWTH),
        Figure(
            "objects that stay, by comparison",
            f"{soaked.objects:g}",
            f"≤ {OBJECTS:g}" if full else f"≤ {OBJECTS:g} in the full form",
            not full or soaked.objects <= OBJECTS,
        ),
        Figure.at_most(f"of these of the class that grew most, {grew}", by, bar),
        Figure(
            f"seeded defect: {DEFECT_SAYS}",
            f"{'caught' if caught else 'not caught'}: {defective.kept[1]:g} of {defective.kept[0]} by comparison",
            "caught",
            caught,
        ),
        Figure.at_least("requests queued before a start", queued, queued),
        Figure(
            "seconds from the start of the process until it is ready",
            f"{found.ready:.1f} (with an empty queue {found.empty:.1f})",
            f"≤ {longest:g}",
            found.ready <= longest,
        ),
        Figure.none(f"of these without an outcome {found.drained:.0f} s later", found.unanswered),
    ]
    return Observed(figures, soaked.wrong[:20])


def soak(comparisons: int, *, seed: int, first: float, defect: str = "") -> Soak:
    """Have so many comparisons made by one process, in two stages."""
    batches = max(2, -(-comparisons // BATCH))
    soon = max(1, round(batches * first))
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        with house(folder, *SETTINGS, defect=defect) as process:
            began = time.monotonic()
            work_through(process, range(soon), seed)
            early, made = held(process), ended(folder)
            work_through(process, range(soon, batches), seed)
            late, total = held(process), ended(folder)
            seconds = time.monotonic() - began
        by_callback = rows(folder / "cj.db", "SELECT count(*) FROM comparisons WHERE road = 'callback'")[0][0]
        return Soak(total, by_callback, seconds, early, late, total - made, miscounts(folder))


def work_through(process: Process, numbers: range, seed: int) -> None:
    """Make the batches of these numbers, some at once, and wait until nothing is under way."""
    folder, end = process.folder, time.monotonic() + PATIENCE
    waiting = list(numbers)
    while waiting or unfinished(folder):
        for _ in range(min(len(waiting), AT_ONCE - len(unfinished(folder)))):
            create(process, seed=seed + waiting.pop(0), essays=ESSAYS, each=EACH)
        assert time.monotonic() < end, process.stderr[-3000:]
        time.sleep(0.05)
    until(lambda: not open_requests(folder), patience=PATIENCE, every=0.1)


def ended(folder: Path) -> int:
    return int(rows(folder / "cj.db", "SELECT count(*) FROM comparisons WHERE ended_order IS NOT NULL")[0][0])


def recovery(queued: int) -> Recovery:
    """Start a house whose queue is empty, then one whose queue is long."""
    with tempfile.TemporaryDirectory(prefix="recovery-") as name:
        empty, folder = Path(name) / "empty", Path(name) / "queued"
        began = time.monotonic()
        with house(empty, *SETTINGS) as process:
            until(lambda: ready(process))
            alone = time.monotonic() - began
        furnish(folder)
        anyio.run(fill, folder, queued)
        began = time.monotonic()
        with house(folder, *SETTINGS) as process:
            until(lambda: ready(process))
            soon = time.monotonic() - began
            until(lambda: not open_requests(folder), patience=PATIENCE, every=0.2)
            drained = time.monotonic() - began
        sql = "SELECT count(*) FROM requests WHERE state <> 'published' OR outcome <> 'succeeded'"
        (unanswered,) = rows(folder / "provider.db", sql)[0]
        return Recovery(alone, soon, drained, unanswered)


async def fill(folder: Path, queued: int) -> None:
    """Accept so many requests as the process that ran before would have."""
    database = SqliteDatabase(folder / "provider.db", migrations=MIGRATIONS)
    async with SqlQueue(database, boot="before", limit=queued) as queue, anyio.create_task_group() as group:
        for number in range(queued):
            group.start_soon(queue.accept, request(number))


def request(number: int) -> QueuedRequest:
    asked = LLMComparisonRequest(
        user_prompt=QUESTION,
        essay_a=essay(number % ESSAYS),
        essay_b=essay((number + 1) % ESSAYS),
        callback_topic=UNREAD,
        correlation_id=uuid4(),
        llm_config_overrides=LLMConfigOverrides(provider=PROVIDER, model=MODEL),
    )
    return QueuedRequest(
        queue_id=asked.queue_id("local"),
        correlation_id=asked.correlation_id,
        principal="local",
        lane=f"{PROVIDER}/{MODEL}",
        body=asked.model_dump_json(exclude_defaults=True).encode(),
        fingerprint=asked.fingerprint(),
        callback_topic=UNREAD,
        callback_key=str(asked.correlation_id),
        priority=asked.priority,
        expires_in=asked.expires_in,
    )
