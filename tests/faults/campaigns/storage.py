"""Storage: a disk that is full, fails, is read-only, or belongs to somebody else for a while."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults.embedded.house import create, house, miscounts, open_requests, ready, unfinished
from tests.faults.embedded.posts import CUT, Crowd, Reply, broken_promises, nth, posting, promised
from tests.faults.embedded.troubles import STORES, Ground, Trouble, ground, possible
from tests.faults.findings import Figure, Observed
from tests.flow.house import rows
from tests.flow.process import Process, until

SHORT = ("disk full", "write fails (EIO)", "file size limit")
HOLD, SHORT_HOLD = 3.0, 1.0
"""Seconds of trouble after it was first felt."""

HEALED, SHORT_HEALED = 10.0, 30.0
FELT = 30.0
"""Seconds within which a trouble has to be felt: a lock is waited for, 5 s in a line of several."""

FINISH = 180.0
RATE, CLIENTS = 25, 64
SETTINGS = (
    "judges.simulated.latency=0.05",
    "judges.simulated.concurrency=6",
    "judges.simulated.direct_concurrency=2",
    "queue.lease=5",
    "cj.hold=5",
)
DEFECT, DEFECT_SAYS = "promises:accepted_before_it_is_stored", "a 202 before the commit"
QUEUED = ("judges.simulated.direct_concurrency=0", "cj.repair_after=3")
"""For the defective house: it shows its defect to those who have to queue only, and its own batch has to ask again."""

TRIES = 4
"""The batch may feel the trouble before the crowd does, and then nobody is promised anything: so it is made again."""

BEFORE = 5
"""Posts of the crowd that are answered before a trouble begins."""


@dataclass(frozen=True, slots=True)
class Bout:
    """One trouble; `killed`: the process is killed in the midst of it. `refused`: a POST is refused because of it."""

    name: str
    trouble: Trouble
    killed: bool = False
    refused: bool = True


@dataclass
class Survival:
    """What became of a house in trouble. `healed` is seconds until it was ready and took a request again."""

    answers: list[Reply] = field(default_factory=list)
    healed: list[float] = field(default_factory=list)
    bouts: int = 0
    kills: int = 0
    blind: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def run(seed: int, *, full: bool) -> Observed:
    """Go through every trouble; the full form does so twice alive, and once more killed in the midst of it."""
    with tempfile.TemporaryDirectory(prefix="storage-") as name, ground(Path(name) / "ground") as where:
        found = possible(where)
        chosen = found if full else {name: found[name] for name in SHORT if name in found}
        bouts = [Bout(name, trouble) for name, trouble in chosen.items()] * (2 if full else 1)
        killed = list(chosen.items()) if full else list(chosen.items())[1:2]
        story = tell(
            where, [*bouts, *(Bout(name, trouble, killed=True) for name, trouble in killed)], full=full
        )
        missing = where.missing()
    caught = ""
    for number in range(1, TRIES + 1):
        if false := _false_202_of_the_defective():
            caught = f"caught: {false} false 202, at try {number}"
            break
    figures = _figures(story, caught, Counter(bout.name for bout in bouts), missing, full=full)
    complaints = [*missing, *story.wrong[:20], *story.stuck, *story.blind]
    return Observed(figures, complaints)


def _false_202_of_the_defective() -> int:
    """Of a house that promises before it stores, in one trouble that can be made everywhere."""
    with tempfile.TemporaryDirectory(prefix="storage-") as name, ground(Path(name) / "ground") as where:
        bout = Bout("file size limit", possible(where)["file size limit"], refused=False)
        return _of(tell(where, [bout], full=False, defect=DEFECT, settings=QUEUED), "false 202")


def _figures(
    story: Survival, caught: str, kinds: Counter[str], missing: Sequence[str], *, full: bool
) -> list[Figure]:
    statuses = Counter(answer.status for answer in story.answers)
    refused = [answer for answer in story.answers if answer.status == 503]
    unnamed = [answer for answer in refused if not answer.retry_after]
    strange = len(story.answers) - sum(statuses[status] for status in (200, 202, 503))
    healed, bar = nth(story.healed, 1.0), HEALED if full else SHORT_HEALED
    return [
        Figure.at_least(f"troubles: {', '.join(kinds)}", story.bouts, sum(kinds.values())),
        Figure("of the kinds above, not made here", "; ".join(missing) or "none", "said", met=True),
        Figure.at_least("of these with kill -9 in the midst", story.kills, 1),
        Figure.at_least("answered 200 or 202", len(promised(story.answers)), 1),
        Figure.at_least("answered 503", len(refused), story.bouts),
        Figure.none("503 without Retry-After", len(unnamed)),
        Figure.none("answered anything else, or not at all by a living process", strange),
        Figure.none("troubles that readiness did not name", len(story.blind)),
        Figure.none("false 202: promises without a row or an outcome", _of(story, "false 202", "broken")),
        Figure.none(
            "comparisons lost or double, scores that are no recount", _of(story, "lost", "double", "recount")
        ),
        Figure.none("databases that are damaged", _of(story, "damage")),
        Figure.none("batches that did not go on by themselves, without a restart", len(story.stuck)),
        Figure.at_most("seconds until it is ready and takes requests again, at most", round(healed, 1), bar),
        Figure(f"seeded defect: {DEFECT_SAYS}", caught or "not caught", "caught", bool(caught)),
    ]


def _of(story: Survival, *kinds: str) -> int:
    return sum(words.split(":")[0] in kinds for words in story.wrong)


def tell(
    where: Ground, bouts: Sequence[Bout], *, full: bool, defect: str = "", settings: Sequence[str] = ()
) -> Survival:
    """Live through `bouts`, in as many lives as it takes, then read what is left."""
    story, waiting = Survival(), list(bouts)
    start = partial(house, where.folder, *SETTINGS, *settings, defect=defect, environment=where.environment)
    while waiting:
        _live(start(), where, waiting, story, hold=HOLD if full else SHORT_HOLD)
    with start() as process:
        _finish(process, story)
    story.wrong += [*broken_promises(where.folder, story.answers), *miscounts(where.folder)]
    for name in STORES:
        if (said := rows(where.folder / name, "PRAGMA integrity_check")) != [("ok",)]:
            story.wrong.append(f"damage: {name}: {said}")
    return story


def _live(
    starting: AbstractContextManager[Process],
    where: Ground,
    waiting: list[Bout],
    story: Survival,
    *,
    hold: float,
) -> None:
    """One life: to the end of what waits, or to a kill."""
    killed_at = float("inf")
    with starting as process, posting(process.url, rate=RATE, clients=CLIENTS) as crowd:
        try:
            while waiting:
                bout = waiting.pop(0)
                story.bouts += 1
                batch = create(process, seed=story.bouts, essays=25, each=8)
                seen = len(crowd.answers)
                until(lambda: len(promised(crowd.answers[seen:])) >= BEFORE, patience=FELT)  # noqa: B023 - at once
                with bout.trouble(where, process):
                    _suffer(process, crowd, bout, story, hold=hold)
                    if bout.killed:
                        killed_at = time.monotonic()
                        process.kill()
                        story.kills += 1
                        return
                _heal(process, crowd, batch, bout, story)
        finally:
            story.answers += [one for one in crowd.answers if one.status != CUT or one.ended_at < killed_at]


def _suffer(process: Process, crowd: Crowd, bout: Bout, story: Survival, *, hold: float) -> None:
    """Until it is felt, and a while longer; readiness has to know. A house that promises blindly may refuse nobody."""
    before = len(crowd.answers)
    if bout.refused:
        until(lambda: any(answer.status == 503 for answer in crowd.answers[before:]), patience=FELT)
    end = time.monotonic() + hold
    if ready(process):
        story.blind.append(f"ready, and yet: {bout.name}")
    time.sleep(max(0.0, end - time.monotonic()))


def _heal(process: Process, crowd: Crowd, batch: str, bout: Bout, story: Survival) -> None:
    """The trouble is over: it has to go on by itself, and to finish what it had begun."""
    began, before = time.monotonic(), len(crowd.answers)

    def well() -> bool:
        assert process.child.poll() is None, process.stderr[-3000:]
        return any(
            answer.status in {200, 202} and answer.sent_at > began for answer in crowd.answers[before:]
        ) and ready(process)

    until(well, patience=FINISH)
    story.healed.append(time.monotonic() - began)
    end = began + FINISH
    while batch in unfinished(process.folder):
        if time.monotonic() > end:
            story.stuck.append(f"batch {batch} after {bout.name}: {process.batch(batch)}")
            return
        time.sleep(0.05)


def _finish(process: Process, story: Survival) -> None:
    """The last life, in fair weather: what is owed is paid."""
    end = time.monotonic() + FINISH
    while open_requests(process.folder) or unfinished(process.folder):
        if time.monotonic() > end:
            story.stuck.append(f"open after all: {unfinished(process.folder)}")
            return
        time.sleep(0.1)
