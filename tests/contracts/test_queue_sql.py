"""What the SQL queue promises beyond the contract's words: a kill, a lock, real time, and no scans."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.contracts import Outcome
from app.database import SqliteDatabase
from app.errors import StoreUnavailable
from app.provider.queue.protocol import Reply, State, StoredOutcome
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import MIGRATIONS
from tests.contracts.queue_world import JUDGED, request

pytestmark = pytest.mark.anyio

VERDICT = StoredOutcome(Outcome.SUCCEEDED, b"first")
OTHER = StoredOutcome(Outcome.FAILED, b"second")

CHILD = """
import asyncio, sys
from pathlib import Path
from uuid import uuid4
from app.database import Database, SqliteDatabase
from app.provider.queue.protocol import QueuedRequest
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import MIGRATIONS

def anew():
    return QueuedRequest(
        queue_id=uuid4(), correlation_id=uuid4(), principal="teacher", lane="rules/v1", body=b"{}",
        fingerprint=b"sha", callback_topic="results", callback_key="batch",
    )

async def main():
    async with SqlQueue(SqliteDatabase(Path(sys.argv[1]), migrations=MIGRATIONS), boot="child") as queue:
        async def ask():
            while True:
                asked = anew()
                await queue.accept(asked, lease_for=60.0)
                print(asked.queue_id.hex, flush=True)
        await asyncio.gather(*[ask() for _ in range(8)])

asyncio.run(main())
"""


def accept_until_killed(path: Path) -> list[UUID]:
    command = [sys.executable, "-c", CHILD, str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert child.stdout is not None
    with child.stdout as lines:
        told = [lines.readline() for _ in range(100)]
        child.kill()
        told += lines.readlines()
    child.wait()
    return [UUID(hex=line.strip()) for line in told if re.fullmatch(r"[0-9a-f]{32}\n", line)]


async def test_what_was_accepted_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "provider.db"
    accepted = accept_until_killed(path)
    assert len(accepted) >= 100
    async with SqlQueue(SqliteDatabase(path, migrations=MIGRATIONS), boot="parent") as queue:
        for queue_id in accepted:
            assert await queue.find(queue_id) is not None
        leases = await queue.lease(JUDGED, limit=1_000, seconds=60.0)
        assert {lease.request.queue_id for lease in leases} >= set(accepted)
        assert {lease.reply for lease in leases} == {Reply.CALLBACK}


async def test_waiting_ends_when_a_delay_or_a_lease_ends(tmp_path: Path) -> None:
    async with SqlQueue(
        SqliteDatabase(tmp_path / "provider.db", migrations=MIGRATIONS), boot="boot"
    ) as queue:
        await queue.accept(request(0))
        (lease,) = await queue.lease(JUDGED, limit=1, seconds=60.0)
        await queue.release(lease, after=0.05)
        with anyio.fail_after(10):
            while not await queue.lease(JUDGED, limit=1, seconds=0.05):
                await queue.wait(60.0)
            while not await queue.lease(JUDGED, limit=1, seconds=60.0):
                await queue.wait(60.0)


async def test_no_statement_of_the_daily_work_scans_the_ledger(tmp_path: Path) -> None:
    scans: set[str] = set()

    async with SqlQueue(
        SqliteDatabase(tmp_path / "provider.db", migrations=MIGRATIONS), boot="boot"
    ) as queue:

        def explain(_c: object, cursor: sqlite3.Cursor, sql: str, values: object, *_: object) -> None:
            if sql.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
                plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()  # type: ignore[arg-type]
                scans.update(
                    f"{step[3]}: {sql}"
                    for step in plan
                    if re.match(r"SCAN (requests|r|payloads|p)\b(?!.*requests_closer_line)", step[3])
                )

        event.listen(Engine, "before_cursor_execute", explain)
        try:
            for number in range(4):
                await queue.accept(request(number))
            await queue.accept(request(5), lease_for=10.0)
            await queue.cancel(request(3).queue_id)
            await queue.promise_callback(request(5).queue_id)
            (lease, second) = await queue.lease(JUDGED, limit=2, seconds=10.0)
            await queue.begin_try(lease)
            await queue.extend(lease, 60.0)
            await queue.store(lease, VERDICT)
            await queue.store(lease, OTHER)
            await queue.mark_published(lease)
            await queue.release(second)
            await queue.lease_closing(limit=1, seconds=10.0)
            await queue.find(request(0).queue_id)
            await queue.stats()
            await queue.recent_starts(seconds=60.0)
            await queue.browse(lane=JUDGED, state=State.QUEUED)
            await queue.browse()
            await queue.purge()
        finally:
            event.remove(Engine, "before_cursor_execute", explain)
    assert not scans


async def test_a_database_that_is_locked_gives_no_false_accept(tmp_path: Path) -> None:
    path = tmp_path / "provider.db"
    database = SqliteDatabase(path, migrations=MIGRATIONS, busy_timeout=0.01)
    async with SqlQueue(database, boot="boot") as queue:
        stranger = sqlite3.connect(path, isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await queue.accept(request(0))
        assert await queue.find(request(0).queue_id) is None
        stranger.execute("ROLLBACK")
        stranger.close()
        assert not (await queue.accept(request(0))).known
