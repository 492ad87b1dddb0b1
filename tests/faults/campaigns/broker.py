"""The broker: killed, hung, away for a minute, topics deleted and topics never made, while work goes on."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.engines import Kafka
from tests.faults import topics
from tests.faults.callback_flow import until_one_published_after, until_the_next
from tests.faults.embedded.posts import nth
from tests.faults.findings import Figure, Observed
from tests.faults.fleet import Fleet, Poster, Toll
from tests.flow.installations import on_kafka, on_postgresql, on_redis
from tests.flow.process import until

FULL = {"kill": 9, "hang": 6, "outage": 1, "deleted topic": 4, "unknown topic": 2}
SHORT = {"kill": 1, "deleted topic": 1}
OUTAGE = 60.0
SETTLED = 90.0
SERVES = 180.0
"""Seconds after which a broker that was started again has failed; on a quiet machine it takes five."""

BACK, LOOSE = 5.0, 30.0
"""Seconds until callbacks flow again: the bar, and what a busy machine is given in the short form."""

ACCEPT, LOOSE_ACCEPT = 0.25, 5.0
CALLBACKS_ONLY = "judges.simulated.direct_concurrency=0"
NO_REPAIR = "cj.repair_after=86400"
UNREAD = 0.3
"""Seconds for which callbacks gather on a topic before it is deleted."""

DEFECT = "bus:publish_on_trust"


class Broker:
    """What may happen to it; each fault returns the seconds until callbacks flow again after its end."""

    def __init__(self, server: Kafka, fleet: Fleet, poster: Poster, random: Random) -> None:
        self.unknown: list[str] = []
        self._server = server
        self._fleet = fleet
        self._poster = poster
        self._random = random

    def suffer(self, fault: str) -> float:
        """Go through the fault of that name."""
        faults: dict[str, Callable[[], float]] = {
            "kill": self.kill,
            "hang": self.hang,
            "outage": self.outage,
            "deleted topic": self.deleted_topic,
            "unknown topic": self.unknown_topic,
        }
        return faults[fault]()

    def kill(self, away: float | None = None) -> float:
        """SIGKILL, and the same one again; it is back when it serves."""
        self._server.kill()
        time.sleep(self._random.uniform(0, 2) if away is None else away)
        self._server.launch()
        until(self._server.serves, patience=SERVES)
        return until_the_next(self._fleet, "the broker served again")

    def outage(self) -> float:
        """Away for so long that everybody has given up on it."""
        return self.kill(OUTAGE)

    def hang(self) -> float:
        """SIGSTOP: connections stay open, and nobody answers on them."""
        self._server.pause()
        time.sleep(self._random.uniform(2, 8))
        self._server.resume()
        return until_the_next(self._fleet, "the broker went on")

    def deleted_topic(self) -> float:
        """With callbacks on it that nobody has read: they are gone, and cj has to ask again."""
        self._fleet.wiped = True
        with unread_callbacks(self._fleet):
            topics.delete(self._server.servers, self._fleet.callback_topic)
            deleted = time.time()
        return until_one_published_after(self._fleet, deleted, "the topic was deleted")

    def unknown_topic(self) -> float:
        """One that the broker does not have and does not let anybody make, because its name is too like another's.

        Callbacks for it wait; those for other topics go on. Then people put it right.
        """
        topic = self.unknown.pop()
        asking = Poster(self._fleet.urls, topic, seed=self._random.randrange(10**6))
        with asking.posting(0.05):
            slowest = max(until_the_next(self._fleet, f"{topic} was posted to") for _ in range(40))
        self._poster.answers += asking.answers
        if topics.exists(self._server.servers, topic):
            self._fleet.unexpected.append(f"the broker has {topic}, which it should refuse to make")
        topics.delete(self._server.servers, like(topic))
        return slowest


def like(topic: str) -> str:
    """A name beside which Kafka refuses to make `topic`."""
    return topic.replace(".", "_")


@contextmanager
def unread_callbacks(fleet: Fleet) -> Iterator[None]:
    """Nobody reads meanwhile, and providers go on."""
    for cj in fleet.cjs:
        cj.pause()
    try:
        time.sleep(UNREAD)
        yield
    finally:
        for cj in fleet.cjs:
            cj.resume()


def run(seed: int, *, full: bool) -> Observed:
    """Fault after fault under load; the full form shows that two defects are noticed."""
    faults = FULL if full else SHORT
    server = Kafka()
    try:
        server.start()
        with tempfile.TemporaryDirectory(prefix="juxta-broker-", ignore_cleanup_errors=True) as folder:
            figures, complaints = _storm(Path(folder) / "fleet", server, faults, Random(seed), full=full)
            if full:
                figures += [
                    _caught(
                        "no repair of what a deleted topic held", _unrepaired(Path(folder) / "a", server)
                    ),
                    _caught("an outage that counts as published", _swallowed(Path(folder) / "b", server)),
                ]
    finally:
        server.resume()
        server.close()
    return Observed(figures, complaints)


def _storm(
    folder: Path, server: Kafka, faults: Mapping[str, int], random: Random, *, full: bool
) -> tuple[list[Figure], Sequence[str]]:
    order = [name for name, times in faults.items() for _ in range(times)]
    random.shuffle(order)
    engines = (*on_kafka(servers=server.servers), *on_redis(), *on_postgresql())
    base = dict(one.split("=", 1) for one in engines)["cj.callback_topic"]
    unknown = [f"{base}.unknown{n}" for n in range(faults.get("unknown topic", 0))]
    if unknown:
        topics.make(server.servers, *map(like, unknown))
    several = 2 if full else 1
    fleet = Fleet(
        folder,
        engines,
        providers=several,
        cjs=several,
        latency=0.1,
        provider_options=[CALLBACKS_ONLY],
        cj_options=["cj.repair_after=4"],
        topics=unknown,
        seed=random.randrange(10**6),
    )
    slowest: dict[str, float] = {}
    faulty: list[tuple[float, float]] = []
    with fleet:
        with fleet.working(6), fleet.posting() as poster:
            broker = Broker(server, fleet, poster, random)
            broker.unknown = unknown
            until_the_next(fleet, "the start")
            for name in order:
                struck = time.monotonic()
                slowest[name] = max(slowest.get(name, 0.0), broker.suffer(name))
                faulty.append((struck, time.monotonic()))
                time.sleep(random.uniform(0.5, 1.5))
        fleet.settle(SETTLED)
        toll = fleet.toll()
    refused = Counter(answer.words for answer in poster.answers if not answer.accepted)
    meanwhile = [
        one.seconds
        for one in poster.answers
        if one.status and any(began <= one.sent_at <= ended for began, ended in faulty)
    ]
    back, accept = (BACK, ACCEPT) if full else (LOOSE, LOOSE_ACCEPT)
    figures = [
        Figure.at_least("faults: " + ", ".join(f"{n} {name}" for name, n in faults.items()), len(order), 20 if full else 2),
        Figure.at_least("comparisons of cj, by callback", toll.by_callback, 1),
        Figure.at_least("accepted from another client", toll.accepted, 1),
        *toll.figures(),
        Figure.none("posts refused, or without an answer", sum(refused.values())),
        Figure.at_most(f"p99 of accepting, seconds, of the {len(meanwhile):,} during faults", round(nth(meanwhile, 0.99), 3), accept),
        *(
            Figure.at_most(f"{name}: seconds until callbacks flow, slowest", round(seconds, 1), back)
            for name, seconds in slowest.items()
        ),
    ]  # fmt: skip
    return figures, [*toll.complaints, *(f"{n} times: {words}" for words, n in refused.most_common(5))]


def _caught(defect: str, toll: Toll) -> Figure:
    found = f"caught: {toll.lost} lost" if toll.lost else "not caught"
    return Figure(f"seeded defect: {defect}", found, "caught", bool(toll.lost))


def _unrepaired(folder: Path, server: Kafka) -> Toll:
    """Nobody sweeps: what was on the topic is never asked for again."""
    with _small(folder, server) as fleet:
        fleet.wiped = True
        with fleet.working(4):
            until_the_next(fleet, "the start")
            with unread_callbacks(fleet):
                topics.delete(server.servers, fleet.callback_topic)
        fleet.settle(12.0)
        return fleet.toll()


def _swallowed(folder: Path, server: Kafka) -> Toll:
    """The broker hangs for longer than a publish waits."""
    with _small(folder, server, "bus.publish_timeout=1", defect=DEFECT) as fleet:
        with fleet.working(4):
            until_the_next(fleet, "the start")
            server.pause()
            time.sleep(4.0)
            server.resume()
        fleet.settle(12.0)
        return fleet.toll()


def _small(folder: Path, server: Kafka, *settings: str, defect: str | None = None) -> Fleet:
    """One provider and one cj, everything by callback, and nobody who repairs."""
    return Fleet(
        folder,
        (*on_kafka(servers=server.servers), *on_redis(), *on_postgresql(), *settings),
        providers=1,
        cjs=1,
        latency=0.1,
        provider_options=[CALLBACKS_ONLY],
        cj_options=[NO_REPAIR],
        defect=defect,
    )
