"""The processes of one installation, and what a test asks of them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import psycopg
from redis import Redis as Client

from app.cj.batch import BatchState
from app.provider.judges.simulated import MODEL, PROVIDER

from .house import QUESTION, SCORES, HeldJudge, batch_of, essay, house_in, rows
from .process import ROOT, RUN, Process, process_on, until

ESSAYS, BATCHES = 25, 8


class Row(NamedTuple):
    """What the queue says of a request; `boot` is the life of the provider that leased it last."""

    state: str
    reply: str
    boot: str | None
    attempt: int


def write_scores(file: Path) -> None:
    """What judges that know the truth read."""
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("sha256", "score"), *SCORES.items()])


@dataclass
class Deployment:
    """What the processes have in common: `engines` as `installations` sets them, a judge that takes `latency` seconds.

    `program` is what they run.
    """

    folder: Path
    engines: tuple[str, ...]
    latency: float = 0.02
    program: Sequence[str] = RUN

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        write_scores(self.folder / "scores.csv")

    @property
    def settings(self) -> dict[str, str]:
        return dict(one.split("=", 1) for one in self.engines)

    def provider(self, name: str, *options: str, port: int = 0) -> AbstractContextManager[Process]:
        limits = ("judges.simulated.concurrency=8", "judges.simulated.direct_concurrency=4")
        settings = (*limits, f"judges.simulated.latency={self.latency}", *options)
        return self._process(self.folder / name, "provider", *settings, port=port)

    def cj(
        self, *providers: Process, options: Sequence[str] = (), name: str = "cj", port: int = 0
    ) -> AbstractContextManager[Process]:
        urls = ",".join(f'"{provider.url}"' for provider in providers)
        return self._process(self.folder / name, "cj", f"cj.provider_urls=[{urls}]", *options, port=port)

    def _process(
        self, folder: Path, role: str, *settings: str, port: int = 0
    ) -> AbstractContextManager[Process]:
        common = (
            *self.engines,
            "cj.hold=5",
            "cj.provider_timeout=4",
            "cj.sweep_every=1",
            "judges.default=simulated",
            f"judges.simulated.scores={self.folder / 'scores.csv'}",
            "judges.simulated.seed=3",
        )
        assigned = chain(*(("--set", one) for one in (*common, *settings)))
        return process_on(folder, "--role", role, "--port", str(port), *assigned, program=self.program)

    def command(self, *arguments: str, folder: str = "cj", said: str = "") -> str:
        """Run a command with these engines on the folder of one process; returns what it printed."""
        assigned = chain(*(("--set", one) for one in self.engines))
        done = subprocess.run(
            [
                sys.executable,
                str(ROOT / "run.py"),
                *arguments,
                *assigned,
                "--data",
                str(self.folder / folder),
            ],
            input=said,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What cj's store says, read without any code of ours."""
        url = self.settings.get("database.url")
        if url is None:
            return rows(self.folder / "cj" / "cj.db", sql)
        with psycopg.connect(url, options="-c search_path=juxta_cj") as connection:
            return connection.execute(sql.encode()).fetchall()

    def ledger(self) -> dict[str, Row]:
        """The queue that providers share, read without any code of ours."""
        if "redis.url" not in self.settings:
            sql = "SELECT encode(queue_id, 'hex'), state, reply, boot, attempt FROM juxta_provider.requests"
            with psycopg.connect(self.settings["database.url"]) as connection:
                return {queue_id: Row(*rest) for queue_id, *rest in connection.execute(sql)}
        with Client.from_url(self.settings["redis.url"], decode_responses=True) as client:
            keys = list(client.scan_iter(f"{{{self.settings['redis.prefix']}}}:row:*", count=1000))
            found = [client.hmget(key, "state", "reply", "boot", "attempt") for key in keys]
        return {
            key.rpartition(":")[2]: Row(state, reply, boot, int(attempt))
            for key, (state, reply, boot, attempt) in zip(keys, found, strict=True)
        }

    def owes(self) -> list[dict[str, Any]]:
        """Requests that are not finished, in the queue that providers share."""
        found: list[dict[str, Any]] = json.loads(self.command("queue", "ls", "--json"))
        return found

    def assert_whole(self, *batches: str) -> None:
        """Each comparison is counted once and in one place; no provider owes anything."""
        for batch_id in batches:
            sql = f"SELECT ended_order, state FROM comparisons WHERE batch_id = '{batch_id}' ORDER BY 1"
            ended = self.rows(sql)
            assert [order for order, _ in ended] == list(range(1, len(ended) + 1))
            assert {state for _, state in ended} == {"decided"}
        ledgers = list(self.folder.glob("*/provider.db"))
        for ledger in ledgers:
            until(lambda: not rows(ledger, "SELECT 1 FROM requests WHERE state <> 'published'"))  # noqa: B023 - at once
        if not ledgers:
            until(lambda: not self.owes(), every=0.2)


def create(process: Process, *, seed: int = 11, essays: int = ESSAYS) -> str:
    """The batch that `house.batch_of` makes, over HTTP."""
    answer = process.client.post("/api/v1/batches", json=content_of(seed=seed, essays=essays))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def content_of(
    *, seed: int, essays: int = ESSAYS, judge: tuple[str, str] = (PROVIDER, MODEL)
) -> dict[str, Any]:
    """The batch that `house.batch_of` makes, as JSON."""
    return {
        "title": f"Seed {seed}",
        "question": QUESTION,
        "essays": [{"name": f"e{n:02}", "text": essay(n)} for n in range(essays)],
        "settings": {
            "judges": [{"provider": judge[0], "model": judge[1]}],
            "comparisons_per_essay": 6,
            "target_reliability": 0.999,
            "random_rounds": 2,
            "seed": seed,
        },
    }


def embedded_scores(folder: Path, seeds: Sequence[int]) -> list[dict[str, float | None]]:
    """What the same batches come to in one process on embedded engines."""

    async def run() -> list[dict[str, float | None]]:
        async with house_in(folder, HeldJudge()) as house:
            new = [batch_of(ESSAYS, seed=seed) for seed in seeds]
            ids = [await house.workflow.create(batch, start=True) for batch in new]
            for batch_id in ids:
                await house.finish(batch_id)
            return [await house.scores(batch_id) for batch_id in ids]

    return anyio.run(run)


def finished(process: Process, batch_id: str) -> bool:
    state = process.batch(batch_id)["state"]
    assert state in {BatchState.RUNNING, BatchState.FINISHED}, process.batch(batch_id)
    return bool(state == BatchState.FINISHED)


def scores(process: Process, batch_id: str) -> dict[str, float]:
    ranking = process.client.get(f"/api/v1/batches/{batch_id}/ranking").json()["ranking"]
    return {row["essay"]: row["score"] for row in ranking}


def recorded(process: Process) -> Counter[str]:
    return Counter(process.client.get("/readyz").json()["recorded"])


def decided(process: Process, *batches: str) -> int:
    return sum(process.batch(batch_id)["decided"] for batch_id in batches)


def wrong(process: Process) -> set[str]:
    """Its parts that are not well."""
    parts: dict[str, Any] = process.client.get("/readyz").json()["parts"]
    return {part for part, words in parts.items() if words != "ok"}


def together(stack: ExitStack, starting: Sequence[AbstractContextManager[Process]]) -> list[Process]:
    """Start processes side by side."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(stack.enter_context, starting))
