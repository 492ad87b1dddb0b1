"""PostgreSQL under us: hangs, restarts, locks, refusals, and several processes at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from app.database.postgresql import PostgresDatabase
from app.database.statements import fetch, over
from app.errors import ConfigurationError, StoreUnavailable
from app.provider.queue import tables as ledger
from tests.engines import PostgreSQL

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[1]
ESSAY = "The sea was grey that morning."
DEADLINE = 0.5
OPEN = """
import asyncio, sys
from app.database.postgresql import PostgresDatabase
from app.provider.queue.tables import MIGRATIONS

async def main():
    sys.stdin.readline()
    async with PostgresDatabase(sys.argv[1], "juxta_provider", migrations=MIGRATIONS):
        pass

print("ready", flush=True)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """One that may be killed, and that asks the role `keyed` for its password."""
    server = PostgreSQL(fsync=False)
    access = server.folder / "data" / "pg_hba.conf"
    access.write_text("host all keyed 127.0.0.1/32 scram-sha-256\n" + access.read_text())
    server.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE keyed LOGIN PASSWORD 'right'")
        connection.execute("CREATE ROLE poor LOGIN")
    yield server
    server.close()


@pytest.fixture
def url(server: PostgreSQL) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        for schema in ("things", "juxta_provider"):
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        connection.execute("CREATE SCHEMA things")
        connection.execute("CREATE TABLE things.things (name text UNIQUE)")
    return server.url


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    async with PostgresDatabase(
        url, "things", connect_timeout=1.0, lock_timeout=0.2, deadline=DEADLINE
    ) as database:
        yield database


def add(connection: Connection, name: str) -> None:
    connection.execute(text("INSERT INTO things (name) VALUES (:name)"), {"name": name})


def add_by_driver(connection: Connection, name: str) -> None:
    over(connection, "INSERT INTO things (name) {rows text}", [(name,)])


def names(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT name FROM things ORDER BY name")).scalars())


async def test_a_server_that_hangs_is_given_up_within_the_deadline_and_taken_up_again(
    server: PostgreSQL, database: PostgresDatabase
) -> None:
    await database.write(lambda connection: add(connection, "before"))
    await database.read(names)
    server.pause()
    try:
        for work in (database.write, database.read):
            begun_at = time.monotonic()
            with pytest.raises(StoreUnavailable) as refusal:
                await work(names)
            assert time.monotonic() - begun_at < 5.0
            assert refusal.value.retry_after
    finally:
        server.resume()
    await database.write(lambda connection: add(connection, "later"))
    assert await database.read(names) == ["before", "later"]


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(database: PostgresDatabase) -> None:
    with pytest.raises(StoreUnavailable, match="timeout"):
        await database.write(lambda connection: fetch(connection, "SELECT pg_sleep(60)"))
    await database.write(lambda connection: add(connection, "next"))


async def test_a_transaction_that_was_left_idle_too_long_is_ended_by_the_server(
    database: PostgresDatabase,
) -> None:
    def dawdle(connection: Connection) -> None:
        add(connection, "never")
        assert not threading.Event().wait(2 * DEADLINE)
        add(connection, "neither")

    with pytest.raises(StoreUnavailable, match="idle"):
        await database.write(dawdle)
    await database.write(lambda connection: add(connection, "next"))
    assert await database.read(names) == ["next"]


async def test_connections_that_died_while_nobody_used_them_cost_no_request(
    server: PostgreSQL, database: PostgresDatabase
) -> None:
    await database.write(lambda connection: add(connection, "before"))
    await database.read(names)
    server.kill()
    server.start()
    await database.write(lambda connection: add(connection, "after"))
    assert await database.read(names) == ["after", "before"]


async def test_a_server_that_is_away_is_unavailable_and_then_back(
    server: PostgreSQL, database: PostgresDatabase
) -> None:
    server.kill()
    for work in (database.write, database.read):
        with pytest.raises(StoreUnavailable) as refusal:
            await work(names)
        assert refusal.value.retry_after
    server.start()
    await database.write(lambda connection: add(connection, "back"))


async def test_what_was_running_when_the_server_died_is_unavailable(
    server: PostgreSQL, database: PostgresDatabase
) -> None:
    def die(connection: Connection) -> None:
        add(connection, "never")
        server.kill()
        add(connection, "neither")

    with pytest.raises(StoreUnavailable):
        await database.write(die)
    server.start()
    assert await database.read(names) == []
    await database.write(lambda connection: add(connection, "again"))


async def test_a_server_that_only_reads_is_not_ready_and_left_as_soon_as_another_connection_may_write(
    url: str, database: PostgresDatabase
) -> None:
    """As after a switch to a standby: a connection from before it would only read for as long as it is kept."""
    await database.check()
    with psycopg.connect(url, autocommit=True) as operator:
        others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'juxta things'"
        for use in (database.check, lambda: database.write(lambda connection: add(connection, "never"))):
            operator.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
            operator.execute(others)
            with pytest.raises(StoreUnavailable, match="read"):
                await use()
            operator.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
            await database.check()
    await database.write(lambda connection: add(connection, "later"))
    assert await database.read(names) == ["later"]


async def test_a_lock_that_lasts_is_unavailable_and_then_over(url: str, database: PostgresDatabase) -> None:
    with psycopg.connect(url) as stranger:
        stranger.execute("LOCK TABLE things.things")
        with pytest.raises(StoreUnavailable, match="lock"):
            await database.write(lambda connection: add(connection, "locked out"))
    await database.write(lambda connection: add(connection, "in"))
    assert await database.read(names) == ["in"]


@pytest.mark.parametrize("insert", [add, add_by_driver])
async def test_errors_quote_no_values(
    database: PostgresDatabase, insert: Callable[[Connection, str], None]
) -> None:
    def twice(connection: Connection) -> None:
        insert(connection, ESSAY)
        insert(connection, ESSAY)

    with pytest.raises((IntegrityError, psycopg.IntegrityError)) as refusal:
        await database.write(twice)
    assert "unique" in str(refusal.value)
    assert ESSAY not in f"{refusal.value} {refusal.value.__cause__}"


async def test_the_clock_is_the_server_s(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= await database.read(database.now) < before + 60.0


async def test_words_reach_who_listens_and_silence_is_told_after_a_restart(
    server: PostgreSQL, url: str, database: PostgresDatabase
) -> None:
    heard: list[str] = []
    stirred = anyio.Event()

    def hear(word: str) -> None:
        heard.append(word)
        stirred.set()

    async def hears(word: str) -> None:
        nonlocal stirred
        with anyio.fail_after(10):
            while word not in heard:
                await stirred.wait()
                stirred = anyio.Event()
        heard.clear()

    async with PostgresDatabase(url, "things") as other:
        other.listen("news", hear)
        await hears("")
        await database.write(lambda connection: database.tell(connection, "news", "hello"))
        await hears("hello")
        server.kill()
        server.start()
        await hears("")
        await database.write(lambda connection: database.tell(connection, "news", "again"))
        await hears("again")


async def test_who_listens_can_leave_while_the_server_is_away(server: PostgreSQL, url: str) -> None:
    async with PostgresDatabase(url, "things") as listening:
        listening.listen("news", lambda _: None)
        server.kill()
        with anyio.fail_after(5):
            await listening.close()
    server.start()


async def test_a_newer_schema_is_refused_by_name(url: str) -> None:
    database = PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS)
    async with database:
        await database.write(
            lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
        )
    with pytest.raises(ConfigurationError) as refusal:
        await PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS).open()
    for part in (database.name, "0999", "0003"):
        assert part in refusal.value.detail


async def test_who_only_looks_makes_nothing_and_migrates_nothing(url: str) -> None:
    def looked_at() -> PostgresDatabase:
        return PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS)

    with pytest.raises(ConfigurationError, match="no tables of provider"):
        await looked_at().looking().__aenter__()
    with psycopg.connect(url) as look:
        assert look.execute("SELECT to_regnamespace('juxta_provider')").fetchone() == (None,)
    async with looked_at() as database:
        async with looked_at().looking() as other:
            await other.read(lambda connection: connection.execute(text("SELECT * FROM requests")))
        await database.write(
            lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        )
        with pytest.raises(ConfigurationError, match=r"0001.*0003"):
            await looked_at().looking().__aenter__()


def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    command = [sys.executable, "-c", OPEN, url]
    children = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    said = [child.communicate("go\n", timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], said
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM juxta_provider.alembic_version").fetchone() == (1,)


async def test_who_waits_for_another_to_migrate_has_more_time_than_a_transaction(url: str) -> None:
    def migrate_slowly() -> None:
        with psycopg.connect(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(hashtextextended('juxta juxta_provider', 0))")
            locked.set()
            other.execute("SELECT pg_sleep(1.6)")

    locked = threading.Event()
    patient = PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS, deadline=0.1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, migrate_slowly)
        await anyio.to_thread.run_sync(locked.wait)
        async with patient:
            assert await patient.read(lambda connection: fetch(connection, "SELECT * FROM requests")) == []


async def test_a_start_with_nothing_to_migrate_waits_for_a_lock_no_longer_than_a_transaction(
    url: str,
) -> None:
    async with PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS):
        pass
    late = PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS, lock_timeout=0.1)
    with psycopg.connect(url) as stranger, anyio.fail_after(5):
        stranger.execute("LOCK TABLE juxta_provider.alembic_version IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="lock") as refusal:
            await late.open()
    assert "lock" in refusal.value.hint


async def test_who_waits_for_another_to_migrate_says_so_and_can_be_told_to_stop(url: str) -> None:
    waiting = PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS)
    with psycopg.connect(url) as other, capture_logs() as logged, anyio.fail_after(5):
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('juxta juxta_provider', 0))")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiting.open)
            while not logged:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert logged[0]["event"] == "waits for another process to migrate"
    with psycopg.connect(url) as look:
        assert look.execute("SELECT to_regnamespace('juxta_provider')").fetchone() == (None,)


async def test_the_ledger_s_tables_are_what_its_migrations_make(url: str) -> None:
    def schema(connection: Connection) -> list[tuple[object, ...]]:
        columns = (
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND table_name NOT IN ('alembic_version', 'things')"
        )
        indexes = (
            "SELECT indexname, replace(indexdef, schemaname || '.', '') FROM pg_indexes"
            " WHERE schemaname = current_schema() AND tablename NOT IN ('alembic_version', 'things')"
        )
        return sorted(
            tuple(row) for sql in (columns, indexes) for row in connection.exec_driver_sql(sql).all()
        )

    async with (
        PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS) as migrated,
        PostgresDatabase(url, "things") as described,
    ):
        await described.write(ledger.metadata.create_all)
        assert await migrated.read(schema) == await described.read(schema)


@pytest.mark.parametrize(
    ("role", "name", "said"),
    [
        ("keyed:wrong-secret", "postgres", "password authentication failed"),
        ("keyed", "postgres", "no password supplied"),
        ("stranger", "postgres", "does not exist"),
        ("postgres", "absent", "does not exist"),
        ("poor", "postgres", "permission denied"),
    ],
)
async def test_who_is_not_let_in_hears_why_in_one_line(
    server: PostgreSQL, url: str, role: str, name: str, said: str
) -> None:
    away = f"postgresql://{role}@127.0.0.1:{server.port}/{name}"
    with pytest.raises(ConfigurationError, match=said) as refusal:
        await PostgresDatabase(away, "juxta_provider", migrations=ledger.MIGRATIONS).open()
    assert "\n" not in refusal.value.detail
    assert "secret" not in f"{refusal.value.detail}{refusal.value.hint}"
    assert url  # the schema is made anew, so that there is something to be refused


async def test_a_role_that_may_not_make_or_use_a_schema_hears_so_before_it_starts(
    server: PostgreSQL, url: str
) -> None:
    def probe() -> PostgresDatabase:
        return PostgresDatabase(f"postgresql://poor@127.0.0.1:{server.port}/postgres", "juxta_provider")

    async with probe() as database:
        with pytest.raises(ConfigurationError, match="may not make the schema juxta_provider"):
            await database.examine()
        async with PostgresDatabase(url, "juxta_provider", migrations=ledger.MIGRATIONS) as owner:
            with pytest.raises(ConfigurationError, match="may not use the schema juxta_provider"):
                await database.examine()
            await owner.examine()
            await owner.write(
                lambda connection: fetch(connection, "GRANT USAGE ON SCHEMA juxta_provider TO poor")
            )
            with pytest.raises(ConfigurationError, match=r"may not change the tables .* juxta_provider"):
                await database.examine()


async def test_a_server_without_a_free_connection_is_not_said_to_be_down(
    server: PostgreSQL, url: str
) -> None:
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute("ALTER ROLE poor CONNECTION LIMIT 0")
        try:
            with pytest.raises(StoreUnavailable, match="too many connections") as refusal:
                await PostgresDatabase(f"postgresql://poor@127.0.0.1:{server.port}/postgres", "things").open()
        finally:
            operator.execute("ALTER ROLE poor CONNECTION LIMIT -1")
    assert "max_connections" in refusal.value.hint
    assert "Start PostgreSQL" not in refusal.value.hint


async def test_a_server_without_tls_where_it_is_asked_for_is_a_matter_of_settings(url: str) -> None:
    with pytest.raises(ConfigurationError, match="does not support SSL") as refusal:
        await PostgresDatabase(f"{url}?sslmode=require", "things").open()
    assert "database.url" in refusal.value.hint


async def test_a_server_that_cannot_be_reached_is_unavailable_with_a_hint() -> None:
    with pytest.raises(StoreUnavailable) as refusal:
        await PostgresDatabase("postgresql://postgres@127.0.0.1:1/postgres", "things").open()
    assert "database.url" in (refusal.value.hint or "")
