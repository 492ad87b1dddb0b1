"""Providers and cj processes, killed and started again in their places while work goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Self
from uuid import UUID, uuid5

import httpx2
import psycopg

from app.provider.judges.simulated import MODEL, PROVIDER
from tests.engines.server import is_free
from tests.flow.deployment import Deployment
from tests.flow.process import ROOT, RUN, Process, until

from .books import Books, Topic, read_topic
from .loading import Load
from .posting import PRINCIPAL, Poster
from .toll import Toll, toll

PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections: a port from there may be gone before its process is back."""

QUICK = ("queue.lease=3",)
"""What a killed provider held is free again after this; in earnest it is a minute."""


@dataclass
class Place:
    """Where one process lives, again and again."""

    role: str
    name: str
    port: int
    lives: ExitStack
    process: Process | None = None
    began: float = 0.0


class Fleet:
    """Providers and cj processes on shared engines, under load, and a count of what became of every comparison.

    `options` are settings of all, `provider_options` and `cj_options` of one role; they win over those of the fleet.
    `provider_urls` is where cj sees the providers, if not where they are. `defect` is one of `seeded_defects`, put
    into each process before it starts. `judge` is provider and model of every comparison. `forgetful`: an
    engine will lose what it acknowledged, so that rows may be asked for anew, and posts of others than cj are not
    followed up. `topics` are more that callbacks may go to. `wiped` is set by whoever deletes cj's topic, with the
    callbacks that are on it.
    """

    def __init__(
        self,
        folder: Path,
        engines: tuple[str, ...],
        *,
        providers: int = 2,
        cjs: int = 2,
        latency: float = 0.02,
        options: Sequence[str] = (),
        provider_options: Sequence[str] = (),
        cj_options: Sequence[str] = (),
        provider_urls: Sequence[str] = (),
        defect: str | None = None,
        judge: tuple[str, str] = (PROVIDER, MODEL),
        forgetful: bool = False,
        topics: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        settings = dict(one.split("=", 1) for one in engines)
        self.callback_topic = settings["cj.callback_topic"]
        self.posted_topic = f"{self.callback_topic}.posted"
        self._topics = (self.callback_topic, self.posted_topic, *topics)
        allowed = ",".join(f'"{topic}"' for topic in self._topics)
        program = RUN if defect is None else (str(ROOT / "tests" / "faults" / "maimed.py"), defect)
        self.deployment = Deployment(folder, (*engines, f"provider.topics=[{allowed}]"), latency, program)
        self.forgetful = forgetful
        self._forgot_at = inf if forgetful else 0.0
        self._judge = judge
        self.wiped = False
        self.complaints: list[str] = []
        self.died: list[str] = []
        self.unexpected: list[str] = []
        self._meant: set[int] = set()
        self._seed = seed
        self._common = (*QUICK, *options)
        self._options = {"provider": tuple(provider_options), "cj": tuple(cj_options)}
        self._shared_folder = "database.url" not in settings
        self._places = [
            *(Place("provider", f"p{n + 1}", _port(), ExitStack()) for n in range(providers)),
            *(Place("cj", f"cj{n or ''}", _port(), ExitStack()) for n in range(cjs)),
        ]
        self.urls = tuple(f"http://127.0.0.1:{place.port}" for place in self._of("provider"))
        self._seen_by_cj = tuple(provider_urls) or self.urls
        self._poster: Poster | None = None
        self._load = Load(self, seed, judge)

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(self._start, self._places))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def folder(self) -> Path:
        return self.deployment.folder

    @property
    def providers(self) -> list[Process]:
        """As they are now; the place of one that was killed shows the dead one until `restart`."""
        return [place.process for place in self._of("provider") if place.process is not None]

    @property
    def cjs(self) -> list[Process]:
        return [place.process for place in self._of("cj") if place.process is not None]

    @property
    def processes(self) -> list[Process]:
        return [*self.providers, *self.cjs]

    @cached_property
    def books(self) -> Books:
        """What the stores say, read without the product."""
        return Books(self.deployment)

    @property
    def batches(self) -> list[str]:
        """Ids of those that a 201 promised."""
        return self._load.batches

    def kill(self, process: Process) -> None:
        """SIGKILL; its place stays empty until `restart`."""
        self.mean(process)
        process.kill()

    def mean(self, process: Process) -> None:
        """It is about to be ended on purpose; one that has ended already did so by itself."""
        self._note_death(process)
        self._meant.add(process.child.pid)

    def stop(self, processes: Sequence[Process], patience: float) -> list[tuple[float, int]]:
        """SIGTERM to all of them at once; how many seconds each took to end, and its status. One that does not is killed."""
        began = time.monotonic()
        for process in processes:
            self.mean(process)
            process.child.terminate()

        def ended(process: Process) -> tuple[float, int]:
            try:
                status = process.child.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                status = -signal.SIGKILL
            if status != 0:
                self.unexpected.append(
                    f"{process.folder.name} ended with {status}: … {process.stderr[-1500:]}"
                )
            return time.monotonic() - began, status

        with ThreadPoolExecutor(len(processes)) as watchers:
            return list(watchers.map(ended, processes))

    def restart_all(self, processes: Sequence[Process]) -> None:
        """As `restart`, side by side."""
        with ThreadPoolExecutor(len(processes)) as pool:
            list(pool.map(self.restart, processes))

    def restart(self, process: Process) -> Process:
        """Another one in the place of a process that has ended, with its folder and port; returns when it serves."""
        place = self._place_of(process)
        self._note_death(process)
        place.lives.close()
        return self._start(place)

    def seconds_since_start(self, process: Process) -> float:
        """How long ago its program was executed."""
        return time.monotonic() - self._place_of(process).began

    def ready(self, process: Process, patience: float = 30.0) -> float:
        """Wait until it says so at /readyz; returns the seconds since its program was executed."""
        try:
            until(lambda: _says_ready(process), patience=patience)
        except AssertionError:
            self.unexpected.append(
                f"{process.folder.name} is not ready after {patience:g} s: {process.stderr[-500:]}"
            )
        return self.seconds_since_start(process)

    def create(self, process: Process, essays: int = 25) -> None:
        """Have one cj make one more batch."""
        self._load.make(process.client, process.url, essays)

    @contextmanager
    def working(self, batches: int, essays: int = 25) -> Iterator[None]:
        """Keep that many batches unfinished, by whichever cj answers; new ones as old ones finish."""
        with self._load.kept(batches, essays):
            yield

    @contextmanager
    def posting(self, every: float = 0.05, **more: float) -> Iterator[Poster]:
        """A client that asks the providers for comparisons of its own, to be called back on a topic of its own."""
        before = self._poster
        self._poster = Poster(
            self.urls,
            self.posted_topic,
            before=before.answers if before else (),
            seed=self._seed,
            judge=self._judge,
            **more,
        )
        with self._poster.posting(every):
            yield self._poster

    def forget(self) -> None:
        """An engine has just lost what it acknowledged: rows may be asked for anew, and posts until now are not followed up."""
        self.forgetful, self._forgot_at = True, time.monotonic()

    def settle(self, patience: float) -> None:
        """Wait until every batch and every request has ended by itself; complain about what has not."""
        deadline, left = time.monotonic() + patience, ["nobody looked"]
        while left and time.monotonic() < deadline:
            try:
                left = self.books.unfinished(self.batches)
            except (OSError, psycopg.Error) as error:
                left = [f"the stores do not answer: {error}"]
            time.sleep(0.2)
        self.complaints += [f"after {patience:g} s: {one}" for one in left[:20]]
        if left:
            self.complaints += [f"{p.folder.name}: … {p.stderr[-500:]}" for p in self.processes]

    def toll(self) -> Toll:
        """What became of every comparison, read without the product's code but for the fit."""
        answers = (
            [one for one in self._poster.answers if one.sent_at > self._forgot_at] if self._poster else []
        )
        counted = toll(
            self.books,
            self.topics(),
            answers,
            batches=self.batches,
            forgetful=self.forgetful,
            wiped=self.wiped,
        )
        for process in self.processes:
            self._note_death(process)
        counted.died, counted.unexpected = len(self.died), len(self.unexpected)
        counted.complaints[:0] = [*self.died, *self.unexpected, *self.complaints]
        return counted

    def waits(self) -> list[float]:
        """How many seconds each callback of cj's lay on its topic before it counted; of those that came by this road."""
        published: dict[UUID, float] = {}
        for copy in read_topic(self.deployment.settings["kafka.servers"], self.callback_topic):
            published[copy.request_id] = min(copy.at, published.get(copy.request_id, copy.at))
        ended = self.books.cj("SELECT id, ended_at FROM comparisons WHERE road = 'callback'")
        requests = ((uuid5(UUID(name), PRINCIPAL), at) for name, at in ended)
        return [at - published[name] for name, at in requests if name in published]

    def tracebacks(self) -> list[str]:
        """What the processes said of bugs, in all their lives."""
        logs = {log: log.read_text(errors="replace") for log in self.folder.glob("*/stderr")}
        return [
            f"{log.parent.name}: {text[text.index('Traceback') :][:1500]}"
            for log, text in logs.items()
            if "Traceback" in text
        ]

    def topics(self) -> list[Topic]:
        """Every record of cj's topic, of the poster's, and of any others."""
        servers = self.deployment.settings["kafka.servers"]
        return [read_topic(servers, topic) for topic in self._topics]

    def _note_death(self, process: Process) -> None:
        """Write down that it has ended though nobody ended it; once."""
        status = process.child.poll()
        if status is not None and process.child.pid not in self._meant:
            self._meant.add(process.child.pid)
            self.died.append(f"{process.folder.name} ended by itself, {status}: … {process.stderr[-1500:]}")

    def _of(self, role: str) -> list[Place]:
        return [place for place in self._places if place.role == role]

    def _place_of(self, process: Process) -> Place:
        return next(place for place in self._places if place.process is process)

    def _start(self, place: Place) -> Process:
        place.began = time.monotonic()
        options = (*self._common, *self._options[place.role])
        if place.role == "provider":
            life = self.deployment.provider(place.name, *options, port=place.port)
        else:
            urls = ",".join(f'"{url}"' for url in self._seen_by_cj)
            options = (f"cj.provider_urls=[{urls}]", *options)
            name = "cj" if self._shared_folder else place.name
            life = self.deployment.cj(options=options, name=name, port=place.port)
        place.process = place.lives.enter_context(life)
        if place.process.port != place.port:
            self.unexpected.append(f"{place.name} had to move to another port, somebody took its own")
        return place.process

    def _end(self) -> None:
        for place in self._places:
            place.lives.close()


def _port() -> int:
    draw = SystemRandom()  # several campaigns may run at once, with one seed
    while not is_free(port := draw.choice(PORTS)):
        pass
    return port


def _says_ready(process: Process) -> bool:
    try:
        return process.client.get("/readyz").status_code == 200
    except httpx2.HTTPError:
        return False
