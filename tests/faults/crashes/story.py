"""A story is one batch in one folder, lived through many lives: `python -m tests.faults.crashes.story --help`.

This process lives one life itself, undisturbed: what every other is compared with, and after it everything is imported,
and has been used once (measured: a life costs 0.05 s of CPU after that, and 0.4 s without). Its threads have ended
before the first fork. It prints a line of JSON for each story.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from random import Random

import anyio
import structlog

from tests.flow.house import furnish

from .defects import DEFECTS, Defect, seen, without
from .diary import FILE
from .failpoints import Death, Phase, deck
from .life import Life, live, sound
from .remains import Remains, Verdicts
from .weather import DOWN, FAIR, HANGING, LOCKED, ONE_BY_ONE, Weather

SILENCE = 20.0
"""Seconds in which nothing is written into the diary, after which a life that nobody ends is stuck: more than any pause of
the house, on a busy machine too, and less than its leases, claims and repair deadlines."""

WEATHERS = (*(FAIR,) * 7, *(ONE_BY_ONE,) * 2, LOCKED)
ROUGH = (DOWN, HANGING)
"""These stories take seconds for the pauses between tries, so that only a few are told."""

ROUGH_EVERY = 25

MOST_DEATHS = 16
"""Then a batch may end: on a busy machine most lives die before they come far (measured: 40 in one batch)."""


@dataclass(slots=True)
class Story:
    """What became of one batch. `entitled` is how often the judge may be asked: pairs, retries and kills at work."""

    weather: str
    defect: str | None = None
    deaths: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    comparisons: int = 0
    by_callback: int = 0
    calls: int = 0
    entitled: int = 0
    seconds: float = 0.0


class Teller:
    """Tells stories until told to stop; `kills` are those that a failpoint or a moment brought, the last lives not."""

    def __init__(
        self, seed: int, *, defect: Defect | None = None, undisturbed: Verdicts, folder: Path
    ) -> None:
        self._random = Random(seed)
        self._folder = folder
        self._defect = defect
        self._deck: dict[Phase, list[Death]] = {phase: [] for phase in Phase}
        self._undisturbed = undisturbed
        self._patience = SILENCE if defect is None else defect.patience
        self._numbers = count(1)

    def tell(self) -> Story:
        """One batch, from its first wave to its erasure."""
        began, number = time.monotonic(), next(self._numbers)
        folder = self._folder / f"story-{number}"
        folder.mkdir(parents=True)
        weather = self._weather(number)
        story = Story(weather.name, None if self._defect is None else self._defect.name)
        life = Life(0, folder, weather=weather, defect=self._defect.install if self._defect else sound)
        empty = self._defect is None and number % 3 == 0
        if not empty:
            furnish(folder)
        try:
            if empty:
                self._die_often(story, replace(life, phase=Phase.FIRST), lives=2)
            ended = self._work(story, life)
            remains = Remains(folder)
            if ended:
                self._count(story, remains)
                story.violations += remains.violations(weather, self._undisturbed)
            else:
                story.violations += remains.violations_so_far()
            if ended and self._defect is None:
                self._erase(story, life)
            if errors := _errors(folder):
                story.violations.append(f"error: in the log: {errors}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        story.seconds = time.monotonic() - began
        return story

    def _weather(self, number: int) -> Weather:
        if self._defect is not None:
            return self._defect.weather
        if number % ROUGH_EVERY == ROUGH_EVERY // 2:
            return self._random.choice(ROUGH)
        return self._random.choice(WEATHERS)

    def _work(self, story: Story, life: Life) -> bool:
        """Die until the batch has ended, or for as long as a defect wants it; then let it end."""
        wanted = MOST_DEATHS if self._defect is None else self._defect.kills
        while len(story.deaths) < wanted:
            ended = self._die(story, life)
            if ended is not None:
                return ended
        return self._end(story, life, "lost: the batch did not come to its end")

    def _erase(self, story: Story, life: Life) -> None:
        life = replace(life, phase=Phase.ERASE)
        self._die_often(story, life, lives=2)
        if self._end(story, life, "erasure: the batch was not erased"):
            story.violations += Remains(life.folder).left_after_erasure()

    def _die_often(self, story: Story, life: Life, *, lives: int) -> None:
        for _ in range(lives):
            if self._die(story, life) is not None:
                return

    def _die(self, story: Story, life: Life) -> bool | None:
        """One life and its death; None when it was killed, else whether it ended well before."""
        death = self._next_death(life.phase)
        life = replace(life, death=death, number=len(story.deaths) + 1)
        match _one_life(life):
            case "ended":
                return True
            case "killed late":
                story.deaths.append(
                    death.name if death.name.startswith("at random") else f"missed {death.name}"
                )
            case "killed":
                story.deaths.append(death.name)
            case other:
                story.violations.append(f"error: the life that should end {death.name} ended with {other}")
                return False
        return None

    def _end(self, story: Story, life: Life, otherwise: str) -> bool:
        death = Death("nothing", self._patience, while_silent=True)
        ended = _one_life(replace(life, death=death, number=len(story.deaths) + 1))
        if ended == "killed late":
            ended = f"nothing happened for {self._patience:g} s"
        if ended.startswith("exit status"):
            story.violations.append(f"error: the last life ended with {ended}")
        elif ended != "ended":
            story.violations.append(f"{otherwise}: {ended}")
        return ended == "ended"

    def _next_death(self, phase: Phase) -> Death:
        if not self._deck[phase]:
            fresh = deck(self._random)
            if self._defect is not None and self._defect.deaths:
                fresh = [death for death in fresh if death.name in self._defect.deaths]
            self._deck[phase] = [death for death in fresh if death.phase is phase]
        return self._deck[phase].pop()

    def _count(self, story: Story, remains: Remains) -> None:
        story.comparisons, story.calls = remains.comparisons, remains.calls
        story.by_callback = remains.by_callback
        story.entitled = remains.requests + remains.retries + len(story.deaths)


def live_undisturbed(folder: Path) -> Verdicts:
    """The verdicts and scores of the batch of every story, in one life of a sound house."""
    furnish(folder)
    with Path(os.devnull).open("wb") as nobody:
        anyio.run(live, Life(0, folder), nobody.fileno())
    return Remains(folder).verdicts()


def _one_life(life: Life) -> str:
    """Fork a life; it ended, was killed by itself, was killed late by us, or ended with an error."""
    if threading.active_count() > 1:
        raise RuntimeError("a process with threads must not fork")
    reading, writing = os.pipe()
    diary, size = life.folder / FILE, 0
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_born(life, writing)
    os.close(writing)
    if not life.death.from_fork:
        select.select([reading], [], [], SILENCE)
        began = time.monotonic()
    os.close(reading)
    while True:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            if os.WIFSIGNALED(status):
                return "killed"
            code = os.waitstatus_to_exitcode(status)
            return "ended" if code == 0 else f"exit status {code}"
        if life.death.while_silent and (written := diary.stat().st_size if diary.exists() else 0) != size:
            size, began = written, time.monotonic()
        if time.monotonic() >= began + life.death.seconds:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "killed late"
        time.sleep(0.002)


def _be_born(life: Life, opened: int) -> None:
    status = 1
    try:
        log = os.open(life.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        anyio.run(live, life, opened)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it ends in the log of the story
        import traceback  # noqa: PLC0415

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _errors(folder: Path) -> str:
    log = folder / "log"
    text = log.read_text(errors="replace") if log.exists() else ""
    return text[-1500:] if "Traceback" in text else ""


def stories(teller: Teller, *, kills: int, comparisons: int, seconds: float) -> Iterator[Story]:
    """Until there were enough kills and comparisons, or no time is left."""
    deadline, parent = time.monotonic() + seconds, os.getppid()
    while os.getppid() == parent and time.monotonic() < deadline and (kills > 0 or comparisons > 0):
        story = teller.tell()
        kills -= len(story.deaths)
        comparisons -= story.comparisons
        yield story


def until_caught(teller: Teller, *, sound: bool, seconds: float) -> Iterator[Story]:
    """Until an invariant complains, and not only because the house crashed; of a sound house one story."""
    for story in stories(teller, kills=sys.maxsize, comparisons=0, seconds=seconds):
        yield story
        if seen(story.violations) or sound:
            return


def main(arguments: Sequence[str] | None = None) -> None:
    """Tell stories on standard output."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crashes.story", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--comparisons", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600.0, help="for each defect, or for all")
    parser.add_argument("--defect", action="append", default=[], choices=sorted(DEFECTS))
    parser.add_argument(
        "--sound", action="store_true", help="the stories of the defects, without the defects"
    )
    options = parser.parse_args(arguments)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with tempfile.TemporaryDirectory(prefix="juxta-faults-") as name:
        folder = Path(name)
        tell = partial(Teller, options.seed, undisturbed=live_undisturbed(folder / "undisturbed"))
        gc.collect()
        gc.freeze()  # so that the collector of a fork does not copy what all share
        told = [
            stories(
                tell(folder=folder),
                kills=options.kills,
                comparisons=options.comparisons,
                seconds=options.seconds,
            )
        ]
        if options.defect:
            defects = [without(DEFECTS[one]) if options.sound else DEFECTS[one] for one in options.defect]
            told = [
                until_caught(
                    tell(defect=defect, folder=folder / str(number)),
                    sound=options.sound,
                    seconds=options.seconds,
                )
                for number, defect in enumerate(defects)
            ]
        for story in chain(*told):
            print(json.dumps(asdict(story)), flush=True)


if __name__ == "__main__":
    main()
