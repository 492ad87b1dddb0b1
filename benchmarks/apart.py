"""The modules in processes of their own, over HTTP and Kafka, each as `run.py` starts it, with a judge without latency.

Whole flow: from the first POST of a batch to the last score, as cj's database has them. Way of a verdict: from the
moment the provider stored it to the moment cj's transaction recorded it, while 200 a second come by callback, which
is what the judge's slots and latency allow.
"""

from __future__ import annotations

import csv
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import psycopg

from app.provider.judges.digests import text_sha256
from app.provider.judges.simulated import MODEL, PROVIDER
from benchmarks.result import Result
from tests.engines import kafka
from tests.flow.process import Process, process_on, until

BATCHES, ESSAYS, EACH = 10, 100, 10
LEAST = 600
RATE, SLOTS, LONGEST = 200, 20, 0.020
IN_FLIGHT = 512
WORDS = "The sea is deep because rivers never stop bringing water to it. " * 28


class House(NamedTuple):
    """A provider and a cj, and how to look into cj's store."""

    folder: Path
    provider: Process
    cj: Process
    store: Callable[[str], list[tuple[float, float]]]


def run() -> list[Result]:
    """Whole flow on both roads, then the way of a verdict."""
    return [
        whole_flow("roles apart, answered at once", LEAST, direct=IN_FLIGHT),
        whole_flow("roles apart, by callback", LEAST, direct=0),
        way_of_a_verdict(),
    ]


def whole_flow(
    name: str,
    least: float,
    *engines: str,
    direct: int,
    store: str | None = None,
    config: Path | None = None,
) -> Result:
    """Comparisons a second of batches that run together; `store` is the URL of cj's PostgreSQL."""
    paced = f"judges.simulated.direct_concurrency={direct}"
    with house(paced, *engines, store=store, config=config) as apart:
        rank(apart, 1)
        rank(apart, BATCHES)
        (seconds,) = apart.store(
            "SELECT max(finished_at) - min(created_at) FROM batches WHERE title = 'measured'"
        )
    rate = BATCHES * ESSAYS * EACH / 2 / seconds[0]
    return Result(f"whole flow, {name}", rate, least, "comparisons/s", 1.0)


def way_of_a_verdict() -> Result:
    """The median way, as ways a second."""
    paced = (f"judges.simulated.concurrency={SLOTS}", f"judges.simulated.latency={SLOTS / RATE}")
    with house("judges.simulated.direct_concurrency=0", *paced) as apart:
        rank(apart, 4)
        answered = dict(
            _rows(
                apart.folder / "provider.db", "SELECT lower(hex(correlation_id)), answered_at FROM requests"
            )
        )
        ended = apart.store("SELECT replace(id, '-', ''), ended_at FROM comparisons")
    ways = quantiles((at - answered[name] for name, at in ended), n=100)
    name = f"verdict to committed comparison at {RATE}/s, p50 {ways[49] * 1000:.1f} ms of {LONGEST * 1000:.0f}, p99 {ways[98] * 1000:.1f}"
    return Result(name, 1 / ways[49], 1 / LONGEST, "1/s", 1.0)


@contextmanager
def house(*assignments: str, store: str | None = None, config: Path | None = None) -> Iterator[House]:
    """Two processes on one folder and a Kafka."""
    with tempfile.TemporaryDirectory(prefix="juxta-") as name:
        folder = Path(name)
        with (folder / "scores.csv").open("w", newline="") as file:
            scores = [(text_sha256(essay(n)), f"{5 * n / ESSAYS:.3f}") for n in range(ESSAYS)]
            csv.writer(file).writerows([("sha256", "score"), *scores])
        common = (
            "bus.kind=kafka",
            f"kafka.servers={kafka().servers}",
            f"cj.group={folder.name}",
            "judges.default=simulated",
            f"judges.simulated.scores={folder / 'scores.csv'}",
            f"judges.simulated.concurrency={IN_FLIGHT}",
            f"cj.concurrency={IN_FLIGHT}",
            *assignments,
        )
        file = () if config is None else ("--config", str(config))
        options = (*file, *chain(*(("--set", one) for one in common)))
        with process_on(folder, "--role", "provider", *options) as provider:
            urls = f'cj.provider_urls=["{provider.url}"]'
            with process_on(folder, "--role", "cj", *options, "--set", urls) as cj:
                look = (
                    partial(_rows, folder / "cj.db") if store is None else partial(_rows_of_postgresql, store)
                )
                yield House(folder, provider, cj, look)


def rank(apart: House, batches: int) -> None:
    """Start batches together and return when all have ended; a single one is for warming up."""
    essays = [{"name": str(n), "text": essay(n)} for n in range(ESSAYS)]
    settings = {
        "judges": [{"provider": PROVIDER, "model": MODEL}],
        "comparisons_per_essay": EACH,
        "target_reliability": 0.999,
    }
    for seed in range(batches):
        content = {
            "title": "warming up" if batches == 1 else "measured",
            "question": "Which essay argues better?",
            "essays": essays,
            "settings": settings | {"seed": seed},
        }
        answer = apart.cj.client.post("/api/v1/batches", json=content)
        assert answer.status_code == 201, answer.text
    open_batches = "SELECT count(*) FROM batches WHERE state <> 'finished'"
    until(lambda: apart.store(open_batches) == [(0,)], every=0.2, patience=180.0)


def essay(number: int) -> str:
    """1.8 kB, as long as a short essay."""
    return f"{number:04} {WORDS}"


def _rows(file: Path, sql: str) -> list[tuple[float, float]]:
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.execute(sql))


def _rows_of_postgresql(url: str, sql: str) -> list[tuple[float, float]]:
    with psycopg.connect(url, options="-c search_path=juxta_cj") as connection:
        return list(connection.execute(sql.encode()))


if __name__ == "__main__":
    for result in run():
        print(
            f"{result.name}: {result.ours:,.0f} against {result.floor:,.0f} {result.unit}, ratio {result.ratio:.2f}"
        )
