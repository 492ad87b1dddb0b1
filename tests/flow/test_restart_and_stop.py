"""The real process stopped, killed and started again: it says how it is, ends in time, and nothing is lost."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.engines import PostgreSQL

from .house import HeldJudge, batch_of, eventually, furnish, house_in, rows
from .process import Process, command, process_on, until

EXAMPLES = Path(__file__).parents[2] / "examples" / "essays"
PAIRS = 24
GRACE = 20.0
"""What `http.grace` is by default."""
BUSY = (
    "--no-demo",
    *("--set", "judges.rules.concurrency=4"),
    *("--set", "judges.rules.direct_concurrency=2"),
)


@pytest.fixture
def furnished(tmp_path: Path) -> Path:
    furnish(tmp_path)
    return tmp_path


def start_batch(process: Process) -> str:
    """Eight of the example essays, six comparisons each."""
    essays = [
        {"name": file.stem, "text": file.read_text(encoding="utf-8")}
        for file in sorted(EXAMPLES.glob("essay-*.txt"))[:8]
    ]
    settings = {"comparisons_per_essay": 6, "target_reliability": 0.999, "seed": 5}
    content = {"title": "Stop", "question": "Which is better?", "essays": essays, "settings": settings}
    response = process.client.post("/api/v1/batches", json=content)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def under_way(process: Process, batch_id: str) -> bool:
    """Some comparisons are decided, others are at the judge or wait for it."""
    batch = process.batch(batch_id)
    lanes = process.client.get("/api/v1/queue/stats").json()["lanes"]
    return bool(batch["decided"]) and any(lane["leased"] for lane in lanes.values())


def finished(process: Process, batch_id: str) -> dict[str, Any] | None:
    batch = process.batch(batch_id)
    return batch if batch["state"] == "finished" else None


def assert_whole(folder: Path) -> None:
    """Each comparison counted once, each request answered once, nothing is owed."""
    order = [n for (n,) in rows(folder / "cj.db", "SELECT ended_order FROM comparisons ORDER BY 1")]
    assert order == list(range(1, PAIRS + 1))
    assert rows(folder / "provider.db", "SELECT state, outcome, count(*) FROM requests GROUP BY 1, 2") == [
        ("published", "succeeded", PAIRS)
    ]


def test_sigterm_under_load_ends_in_time_and_a_restart_finishes_the_batch(furnished: Path) -> None:
    with process_on(furnished, *BUSY, "--set", "judges.rules.pace=1") as process:
        batch_id = start_batch(process)
        until(lambda: under_way(process, batch_id))
        assert process.stop() == 0
        assert "Nothing is lost" in process.stderr
        assert "Traceback" not in process.stderr
    open_rows = rows(furnished / "cj.db", "SELECT count(*) FROM comparisons WHERE ended_order IS NULL")
    assert open_rows != [(0,)]
    assert rows(
        furnished / "provider.db", "SELECT count(*) FROM requests WHERE held AND state = 'leased'"
    ) == [(0,)]
    with process_on(furnished, *BUSY, "--set", "judges.rules.pace=0") as process:
        batch = until(lambda: finished(process, batch_id))
        assert (batch["decided"], batch["failed"]) == (PAIRS, 0)
        until(lambda: not process.client.get("/api/v1/queue/stats").json()["lanes"])
        assert process.stop() == 0
    assert_whole(furnished)


def test_sigterm_while_a_judge_hangs_ends_in_time_and_gives_the_row_back(furnished: Path) -> None:
    hanging = ("--set", "judges.rules.pace=600", "--set", "provider.drain=0.2")
    with process_on(furnished, *BUSY, *hanging) as process:
        start_batch(process)
        until(lambda: rows(furnished / "provider.db", "SELECT 1 FROM requests WHERE tries > 0"))
        assert process.stop() == 0
        assert "Traceback" not in process.stderr
    assert rows(furnished / "provider.db", "SELECT 1 FROM requests WHERE held OR outcome IS NOT NULL") == []


def test_the_real_process_killed_goes_on_where_it_was(furnished: Path) -> None:
    with process_on(furnished, *BUSY, "--set", "judges.rules.pace=1") as process:
        batch_id = start_batch(process)
        until(lambda: under_way(process, batch_id))
        process.kill()
    with process_on(furnished, *BUSY, "--set", "judges.rules.pace=0") as process:
        batch = until(lambda: finished(process, batch_id))
        assert (batch["decided"], batch["failed"]) == (PAIRS, 0)
        until(lambda: not process.client.get("/api/v1/queue/stats").json()["lanes"])
    assert_whole(furnished)


def test_the_examples_are_loaded_into_an_empty_folder_and_never_again(tmp_path: Path) -> None:
    options = ("--set", "judges.rules.pace=0")
    with process_on(tmp_path, *options) as process:
        (batch,) = process.client.get("/api/v1/batches").json()["batches"]
        assert batch["title"].startswith("Example")
        assert batch["essays"] == len(list(EXAMPLES.glob("essay-*.txt")))
        assert process.stop() == 0
    with process_on(tmp_path, *options) as process:
        (again,) = process.client.get("/api/v1/batches").json()["batches"]
        assert again["id"] == batch["id"]


def test_readiness_names_the_part_that_is_away_and_liveness_does_not_care(furnished: Path) -> None:
    with process_on(furnished, "--no-demo") as process:
        assert process.client.get("/readyz").status_code == 200
        assert parts(process) == {"bus": "ok", "queue": "ok", "store": "ok", "keys": "ok"}
        with closing(sqlite3.connect(furnished / "cj.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            until(lambda: wrong(process) == {"store"})
            assert process.client.get("/readyz").status_code == 503
            assert process.client.get("/healthz").status_code == 200
            other.execute("ROLLBACK")
        until(lambda: process.client.get("/readyz").status_code == 200)
        shutil.move(furnished / "provider.db", furnished / "elsewhere.db")
        until(lambda: wrong(process) == {"queue"})
        assert process.client.get("/healthz").status_code == 200


def parts(process: Process) -> dict[str, str]:
    found: dict[str, str] = process.client.get("/readyz").json()["parts"]
    return found


def wrong(process: Process) -> set[str]:
    return {part for part, words in parts(process).items() if words != "ok"}


@pytest.mark.anyio
async def test_leaving_the_house_twice_in_a_batch_asks_no_judge_twice_for_an_answered_request(
    tmp_path: Path,
) -> None:
    judge = HeldJudge()
    new = batch_of()
    async with house_in(tmp_path, judge) as house:
        batch_id = await house.workflow.create(new, start=True)
        await house.until(batch_id, lambda batch: batch.decided >= 5)
    for more in (12, 30):
        async with house_in(tmp_path, judge) as house:
            await house.until(batch_id, lambda batch: batch.decided >= more)  # noqa: B023 - called at once
    async with house_in(tmp_path, judge) as house:
        batch = await house.finish(batch_id)

        async def nothing_owed() -> bool:
            return not await house.queue.stats()

        await eventually(nothing_owed)
    assert (batch.decided, batch.failed) == (30, 0)
    assert max(Counter(judge.calls).values()) == 1


def test_sigterm_while_another_process_migrates_ends_the_start_in_time(
    tmp_path: Path, postgresql: PostgreSQL
) -> None:
    url, log = postgresql.create(f"t{uuid4().hex}"), tmp_path / "stderr"
    engines = (
        "bus.kind=kafka",
        "kafka.servers=127.0.0.1:1",
        "database.kind=postgresql",
        f"database.url={url}",
    )
    settings = chain(*(("--set", one) for one in engines))
    with psycopg.connect(url) as other, log.open("wb") as stderr:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('juxta juxta_access', 0))")
        start = [*command(tmp_path, "--role", "provider"), *settings]
        with subprocess.Popen(start, stdout=stderr, stderr=stderr) as child:
            until(lambda: "waits for another process to migrate" in log.read_text())
            child.terminate()
            assert child.wait(GRACE) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def test_what_was_only_for_a_while_is_gone_after_sigterm(tmp_path: Path) -> None:
    with process_on(tmp_path, "--no-demo", "--ephemeral") as process:
        assert process.folder.parent == tmp_path
        assert (process.folder / "cj.db").exists()
        assert process.stop() == 0
        assert not process.folder.exists()
