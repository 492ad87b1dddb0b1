"""The network: every link of an installation whose roles are apart is reset, cut, withheld and slowed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.faults.behind_proxies import MODEL, TO_KAFKA, TO_PROVIDERS, VENDOR, wired
from tests.faults.findings import Figure, Observed
from tests.faults.fleet import Answer, Fleet, Toll
from tests.faults.proxy import Fault, Proxy, Way
from tests.faults.responsiveness import Watch, watched
from tests.flow.process import Process

FAULTS, SHORT_FAULTS = 32, 4
"""On each link; the same number of each kind."""
BATCHES = 12
"""At once: a batch waits for what a fault holds up, and a link on which nothing moves cannot be broken."""
EACH, SHORT_EACH = 7, 1
"""Of each kind, on each link."""
DEFECT_FAULTS = 8
PATIENCE = 300.0
"""Seconds for all faults of a link; those that no connection felt are tried again."""
SETTLED = 60.0
LONGEST = {Fault.RESET: 0.5, Fault.CUT: 0.5, Fault.WITHHOLD: 5.0, Fault.SLOW: 3.0}
"""Seconds: what is withheld is so now within our deadlines, now beyond them."""
SHORT = 0.25
"""The short form's faults and pauses are so many times as long."""
CALM = 5.0
WAYS = (frozenset({Way.THERE}), frozenset({Way.BACK}), frozenset(Way))
WAIT = 10.0
"""Seconds that nobody waits for an answer of ours: a POST for a connection to Redis (2), for patience (2) and twice for
an answer of Redis (1.5); a page for a transaction of PostgreSQL (3 + 1) behind another one."""
DEFECT = "bus:publish_on_trust"


@dataclass
class Found:
    """What became of a fleet, and how long anybody had to wait."""

    toll: Toll
    felt: Mapping[str, Mapping[Fault, int]]
    posts: Sequence[Answer]
    watch: Watch
    dead: Sequence[str]


def run(seed: int, *, full: bool) -> Observed:
    """Trouble all links at once, each on its own; then every batch has to end by itself."""
    faults = FAULTS if full else SHORT_FAULTS
    found = _storm(
        seed, faults, several=2 if full else 1, batches=BATCHES if full else 2, length=1.0 if full else SHORT
    )
    toll, waits = found.toll, [answer.seconds for answer in found.posts]
    figures = [
        *(
            Figure.at_least(f"faults felt, {link}", sum(felt.values()), faults)
            for link, felt in found.felt.items()
        ),
        *(_of_each_kind(link, felt, EACH if full else SHORT_EACH) for link, felt in found.felt.items()),
        Figure.at_least("comparisons", toll.comparisons, 200 if full else 10),
        Figure.at_least("of these by callback", toll.by_callback, 1),
        Figure.at_least("posts that were accepted", toll.accepted, 200 if full else 10),
        *toll.figures(),
        Figure.none("processes that ended", len(found.dead)),
        Figure.none("looks at a process that were never answered", len(found.watch.hung)),
        Figure.at_most("slowest answer to a post, s", round(max(waits), 1), WAIT),
        *(
            Figure.at_most(f"slowest answer of {path}, s", round(seconds, 1), WAIT)
            for path, seconds in found.watch.slowest.items()
        ),
    ]
    complaints = [*toll.complaints, *found.watch.hung, *found.dead]
    if full:
        caught = _storm(
            seed, DEFECT_FAULTS, several=1, batches=2, length=1.0, only=TO_KAFKA, defect=DEFECT
        ).toll
        words = f"{caught.unkept + caught.lost} promises not kept"
        figures.append(
            Figure("seeded: a publish of unknown fate is taken for done", words, "caught", caught.unkept > 0)
        )
    return Observed(figures, complaints)


def _of_each_kind(link: str, felt: Mapping[Fault, int], wanted: int) -> Figure:
    counts = {fault: felt.get(fault, 0) for fault in Fault}
    words = ", ".join(f"{count} {fault}" for fault, count in counts.items())
    return Figure(f"of these of each kind, {link}", words, f"≥ {wanted} each", min(counts.values()) >= wanted)


def _storm(
    seed: int,
    faults: int,
    *,
    several: int,
    batches: int,
    length: float,
    only: str | None = None,
    defect: str | None = None,
) -> Found:
    """`several` providers and cj processes; faults `length` times as long as in earnest, on all links or `only` one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="juxta-network-")))
        wiring = stack.enter_context(wired(folder, providers=several))
        fleet = Fleet(
            folder / "fleet",
            wiring.engines,
            providers=several,
            cjs=several,
            options=wiring.options,
            provider_urls=[proxy.url for proxy in wiring.providers],
            defect=defect,
            judge=(VENDOR, MODEL),
            seed=seed,
        )
        for proxy, url in zip(wiring.providers, fleet.urls, strict=True):
            proxy.target = int(url.rpartition(":")[2])
        stack.enter_context(fleet)

        def paths(process: Process) -> Sequence[str]:
            pages = [f"/batches/{fleet.batches[-1]}"] if process in fleet.cjs and fleet.batches else []
            return ["/healthz", *pages]

        links = {TO_PROVIDERS: wiring.providers} | {link: (proxy,) for link, proxy in wiring.proxies.items()}
        troubled = [proxies for link, proxies in links.items() if only in {None, link}]
        with watched(fleet.processes, paths) as watch:
            with fleet.working(batches, essays=10), fleet.posting(0.1) as poster:
                _trouble(troubled, faults, seed, length=length)
            fleet.settle(SETTLED if defect is None else SETTLED / 4)
        felt = {
            link: sum((proxy.felt for proxy in proxies), start=Counter[Fault]())
            for link, proxies in links.items()
        }
        dead = [
            f"{p.folder.name} ended: {p.stderr[-1000:]}"
            for p in fleet.processes
            if p.child.poll() is not None
        ]
        return Found(fleet.toll(), felt, poster.answers, watch, dead)


def _trouble(links: Sequence[Sequence[Proxy]], faults: int, seed: int, *, length: float) -> None:
    with ThreadPoolExecutor(len(links)) as pool:
        done = [
            pool.submit(_harass, proxies, faults, seed + number, length=length)
            for number, proxies in enumerate(links)
        ]
    for each in done:
        each.result()


def _harass(proxies: Sequence[Proxy], faults: int, seed: int, *, length: float) -> None:
    """One fault after the other, some on each of these proxies, until connections have felt enough of each kind."""
    random, turn = Random(seed), cycle(proxies)
    deadline = time.monotonic() + PATIENCE * length
    kinds = list(islice(cycle(Fault), faults))
    random.shuffle(kinds)
    for fault in kinds:
        time.sleep(random.uniform(0.1, 1.0) * CALM * length)
        felt = False
        while not felt and time.monotonic() < deadline:
            seconds = random.uniform(0.1, 1.0) * LONGEST[fault] * length
            felt = next(turn).strike(
                fault,
                seconds,
                ways=random.choice(WAYS),
                lost=random.random() < 0.5,
                seed=random.randrange(10**9),
            )
