"""SIGTERM under load while those whom a process talks to hang, one after the other and all together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Protocol

from tests.engines import Kafka, PostgreSQL, Redis, Server
from tests.fake_llm import FakeLLMProcess
from tests.faults.findings import Figure, Observed
from tests.faults.fleet import Fleet, Toll
from tests.faults.fleet.catching import caught
from tests.flow.deployment import write_scores
from tests.flow.installations import on_kafka, on_postgresql, on_redis
from tests.flow.process import Process

STOPS, SHORT_STOPS = 50, 3
GRACE = 3.0
"""`http.grace` of the campaign; by default it is 20 s, and fifty of these would take long."""
LEEWAY = 2.0
MINUTES = 7
GIVEN_UP = 60.0
MODEL = "fake-1"
OPTIONS = (
    f"http.grace={GRACE}",
    "provider.drain=0.5",
    "bus.drain=0.5",
    f'judges.openai.models=["{MODEL}"]',
    "judges.openai.key=sk-of-the-campaign",
    "judges.openai.direct_concurrency=4",
)
DEFECT = "marked_as_published_when_told_to_stop"
DEFECT_SAYS = "on the way out, a callback that the bus did not take is marked as published"


class Pausable(Protocol):
    def pause(self) -> None: ...

    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Peers:
    """Servers of the campaign's own, to be hung."""

    kafka: Kafka
    redis: Redis
    postgresql: PostgreSQL
    judge: FakeLLMProcess

    @property
    def engines(self) -> tuple[str, ...]:
        """What they come to as settings, in a database and under names of their own."""
        on_own_kafka = on_kafka(servers=self.kafka.servers)
        return (*on_own_kafka, *on_redis(self.redis), *on_postgresql(self.postgresql))

    @property
    def all(self) -> tuple[Server, ...]:
        return (self.kafka, self.redis, self.postgresql, self.judge)


@dataclass(frozen=True, slots=True)
class Hang:
    """Who hangs in a round, and who is told to stop meanwhile."""

    words: str
    who: Callable[[Fleet, Peers], Sequence[Pausable]]
    stopped: Callable[[Fleet], Sequence[Process]] = lambda fleet: fleet.processes


KAFKA_HANGS = Hang("Kafka", lambda _, peers: [peers.kafka])
HANGS = (
    Hang("all of them", lambda _, peers: peers.all),
    Hang("the providers, as cj sees them", lambda fleet, _: fleet.providers, lambda fleet: fleet.cjs),
    KAFKA_HANGS,
    Hang("Redis", lambda _, peers: [peers.redis]),
    Hang("PostgreSQL", lambda _, peers: [peers.postgresql]),
    Hang("the judge", lambda _, peers: [peers.judge]),
)


@dataclass(frozen=True, slots=True)
class Stop:
    """`seconds` from SIGTERM to the end of the process, and its exit status."""

    hanging: str
    seconds: float
    status: int


def run(seed: int, *, full: bool) -> Observed:
    """Stop processes in rounds, each with other peers that hang; they go on, and so does the work."""
    with tempfile.TemporaryDirectory(prefix="juxta-faults-") as name, _peers(Path(name)) as peers:
        figures, complaints = _stop(
            _fleet(Path(name) / "sound", peers, seed, full=full), peers, seed, full=full
        )
        if full:
            fleet = _fleet(Path(name) / "maimed", peers, seed, full=False, defect=f"promises:{DEFECT}")
            found, why = caught(fleet, DEFECT_SAYS, partial(_stop_without_kafka, peers=peers))
            figures.append(found)
            complaints += why
    return Observed(figures, complaints)


@contextmanager
def _peers(folder: Path) -> Iterator[Peers]:
    write_scores(folder / "truth.csv")
    judge = FakeLLMProcess("--latency", "0.05", "--truth", str(folder / "truth.csv"))
    with ExitStack() as stack:
        peers = Peers(Kafka(), Redis(), PostgreSQL(fsync=False), judge)
        for server in peers.all:
            stack.callback(server.close)
            server.launch()
        for server in peers.all:
            server.wait_until_it_serves()
        yield peers


def _fleet(folder: Path, peers: Peers, seed: int, *, full: bool, defect: str | None = None) -> Fleet:
    options = (*OPTIONS, f"judges.openai.base_url={peers.judge.url}/v1")
    each = 2 if full else 1
    return Fleet(
        folder,
        peers.engines,
        providers=each,
        cjs=each,
        options=options,
        judge=("openai", MODEL),
        defect=defect,
        seed=seed,
    )


def _stop(fleet: Fleet, peers: Peers, seed: int, *, full: bool) -> tuple[list[Figure], list[str]]:
    wanted, random = STOPS if full else SHORT_STOPS, Random(seed)
    deadline = time.monotonic() + MINUTES * 60
    stops: list[Stop] = []
    with fleet:
        with fleet.working(2), fleet.posting():
            for hang in cycle(HANGS):
                time.sleep(random.uniform(0.5, 1.5))
                stops += _round(fleet, peers, hang, random)
                if len(stops) >= wanted or time.monotonic() > deadline:
                    break
        fleet.settle(90.0)
        toll, bugs = fleet.toll(), fleet.tracebacks()
    return _figures(stops, toll, bugs, wanted, full=full), [*toll.complaints, *bugs]


def _round(fleet: Fleet, peers: Peers, hang: Hang, random: Random) -> list[Stop]:
    hanging, victims = hang.who(fleet, peers), hang.stopped(fleet)
    for peer in hanging:
        peer.pause()
    time.sleep(random.uniform(0.2, 1.0))  # so that work meets it
    try:
        ended = fleet.stop(victims, GIVEN_UP)
    finally:
        for peer in hanging:
            peer.resume()
    fleet.restart_all(victims)
    for process in fleet.processes:
        fleet.ready(process)
    return [Stop(hang.words, *each) for each in ended]


def _figures(stops: list[Stop], toll: Toll, bugs: list[str], wanted: int, *, full: bool) -> list[Figure]:
    bar = GRACE + LEEWAY
    slowest: dict[str, float] = {}
    for stop in stops:
        slowest[stop.hanging] = max(stop.seconds, slowest.get(stop.hanging, 0.0))
    return [
        Figure.at_least("processes told to stop", len(stops), wanted),
        Figure.none(
            "of these that ended with another status than 0", sum(stop.status != 0 for stop in stops)
        ),
        Figure.at_least("comparisons of cj", toll.comparisons, 5 * wanted),
        Figure.at_least("of these by callback", toll.by_callback, 1),
        Figure.at_least("200 and 202 that others than cj got", toll.accepted, wanted),
        *toll.figures(),
        Figure.none("errors in the logs", len(bugs)),
        *(
            Figure.at_most(f"slowest end while {who} hung (grace {GRACE:g} s), s", round(seconds, 2), bar)
            if full
            else Figure.told(f"slowest end while {who} hung (grace {GRACE:g} s), s", round(seconds, 2))
            for who, seconds in slowest.items()
        ),
    ]


def _stop_without_kafka(fleet: Fleet, peers: Peers) -> None:
    """Outcomes are on their way to a bus that hangs when the processes are told to stop."""
    with fleet.working(2), fleet.posting():
        time.sleep(2.0)
        _round(fleet, peers, KAFKA_HANGS, Random(0))
