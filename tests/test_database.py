"""What the rest of the house relies on: transactions, threads, group commit, migrations, and honest failure."""

from __future__ import annotations

import asyncio
import re
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from app.database import Database, GroupCommit, SqliteDatabase
from app.database.postgresql import PostgresDatabase
from app.errors import ConfigurationError, StoreUnavailable
from app.provider.queue import tables as ledger
from tests import engines

pytestmark = pytest.mark.anyio

INSERT = text("INSERT INTO things (name) VALUES (:name)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "things.db"


def kind_of(kind: str, path: Path) -> Database:
    if kind == "postgresql":
        return PostgresDatabase(new_schema(), "things", lock_timeout=0.1)
    return SqliteDatabase(path if kind == "file" else None, busy_timeout=0.05)


def new_schema() -> str:
    url = engines.postgresql().url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS things CASCADE")
        connection.execute("CREATE SCHEMA things")
    return url


@pytest.fixture(params=["file", "memory", "postgresql"])
async def database(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Database]:
    async with kind_of(request.param, path) as database:
        await database.write(make_things)
        yield database


@pytest.fixture(params=["file", "postgresql"])
async def durable(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Database]:
    async with kind_of(request.param, path) as database:
        await database.write(make_things)
        yield database


@pytest.fixture
async def file(path: Path) -> AsyncIterator[Database]:
    async with SqliteDatabase(path, busy_timeout=0.05) as database:
        await database.write(make_things)
        yield database


def make_things(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE things (name TEXT UNIQUE)"))


def add(connection: Connection, name: str) -> None:
    connection.execute(INSERT, {"name": name})


def names(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT name FROM things ORDER BY name")).scalars())


def move(path: Path, target: Path) -> None:
    path.rename(target)


def write_essay(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"an essay, not a database" * 100)


class Adding:
    """A group commit that remembers its groups; a name that begins with "bad" is refused, "worst" breaks the group."""

    def __init__(self, database: Database, *, cap: int = 512) -> None:
        self.groups: list[Sequence[str]] = []
        self.commits = 0
        self.commit: GroupCommit[str, str] = GroupCommit(database, self.apply, committed=self.count, cap=cap)

    def apply(self, connection: Connection, items: Sequence[str]) -> Sequence[str | Exception]:
        self.groups.append(items)
        for name in items:
            if not name.startswith("bad"):
                add(connection, name)
            if name == "worst":
                raise RuntimeError(name)
        return [ValueError(name) if name.startswith("bad") else name.upper() for name in items]

    def count(self) -> None:
        self.commits += 1


async def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    def twice(connection: Connection) -> None:
        add(connection, "one")
        add(connection, "one")

    with pytest.raises(IntegrityError):
        await database.write(twice)
    assert await database.read(names) == []


async def test_all_writing_happens_in_one_thread(database: Database) -> None:
    threads = await asyncio.gather(*[database.write(lambda _: threading.get_ident()) for _ in range(20)])
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_readers_do_not_wait_for_the_writer(durable: Database) -> None:
    read = threading.Event()

    def write(connection: Connection) -> bool:
        add(connection, "one")
        return read.wait(10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(durable.write, write)
        assert await durable.read(names) == []
        read.set()
    assert await durable.read(names) == ["one"]


async def test_a_file_is_synced_at_every_commit(file: Database) -> None:
    def pragmas(connection: Connection) -> list[object]:
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert await file.write(pragmas) == ["wal", 2, 1]


async def test_those_who_wait_share_one_commit(database: Database) -> None:
    adding = Adding(database)
    results = await asyncio.gather(*[adding.commit.submit(f"n{n}") for n in range(100)])
    assert results == [f"N{n}" for n in range(100)]
    assert [len(group) for group in adding.groups] == [100]
    assert adding.commits == 1


async def test_a_group_is_capped_and_the_rest_follows_in_order(database: Database) -> None:
    adding = Adding(database, cap=30)
    await asyncio.gather(*[adding.commit.submit(f"n{n:02}") for n in range(70)])
    assert [len(group) for group in adding.groups] == [30, 30, 10]
    assert [name for group in adding.groups for name in group] == [f"n{n:02}" for n in range(70)]


async def test_an_error_in_the_results_is_for_one_waiter_alone(database: Database) -> None:
    adding = Adding(database)
    results = await asyncio.gather(
        *[adding.commit.submit(name) for name in ("a", "bad", "c")], return_exceptions=True
    )
    assert [str(result) for result in results] == ["A", "bad", "C"]
    assert await database.read(names) == ["a", "c"]


async def test_an_error_of_the_group_is_for_everybody_and_nothing_is_kept(database: Database) -> None:
    adding = Adding(database)
    results = await asyncio.gather(
        *[adding.commit.submit(name) for name in ("a", "worst", "c")], return_exceptions=True
    )
    assert [type(result) for result in results] == [RuntimeError] * 3
    assert await database.read(names) == []
    assert adding.commits == 0
    assert await adding.commit.submit("later") == "LATER"


async def test_what_a_cancelled_waiter_asked_for_is_still_done(database: Database) -> None:
    adding = Adding(database)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(adding.commit.submit, "cancelled")
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await adding.commit.drain()
    assert await database.read(names) == ["cancelled"]


async def test_a_lock_that_lasts_is_unavailable_and_then_over(file: Database, path: Path) -> None:
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    adding = Adding(file)
    results = await asyncio.gather(*[adding.commit.submit(n) for n in "ab"], return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 2
    stranger.execute("ROLLBACK")
    stranger.close()
    assert await adding.commit.submit("a") == "A"


async def test_a_full_file_is_unavailable_and_then_over(file: Database) -> None:
    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    await file.write(fill)
    with pytest.raises(StoreUnavailable, match="full"):
        await file.write(lambda connection: add(connection, "x" * 100_000))
    await file.write(lambda connection: add(connection, "small"))
    assert await file.read(names) == ["small"]


async def test_a_full_disk_is_seen_by_who_asks_whether_it_takes_changes(path: Path) -> None:
    """A transaction that changes nothing succeeds on a full disk: the check has to write."""
    async with SqliteDatabase(path) as file:
        await file.write(make_things)
        await file.checkpoint()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            with pytest.raises(StoreUnavailable):
                await file.check()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await file.check()


async def test_a_file_that_was_deleted_takes_no_more(file: Database, path: Path) -> None:
    move(path, path.with_suffix(".moved"))
    with pytest.raises(StoreUnavailable, match="moved or deleted"):
        await file.write(lambda connection: add(connection, "lost"))
    move(path.with_suffix(".moved"), path)
    await file.write(lambda connection: add(connection, "kept"))
    assert await file.read(names) == ["kept"]


async def test_a_reader_may_not_write(durable: Database) -> None:
    with pytest.raises(StoreUnavailable):
        await durable.read(lambda connection: add(connection, "no"))


async def test_a_closed_database_says_so(durable: Database) -> None:
    await durable.close()
    adding = Adding(durable)
    with pytest.raises(StoreUnavailable, match="closed"):
        await adding.commit.submit("late")
    with pytest.raises(StoreUnavailable, match="closed"):
        await durable.read(names)


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    write_essay(path)
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        await SqliteDatabase(path).open()


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(StoreUnavailable):
        await SqliteDatabase(tmp_path / "data" / "things.db").open()


async def test_a_newer_schema_is_refused_by_name(path: Path) -> None:
    async with SqliteDatabase(path, migrations=ledger.MIGRATIONS) as database:
        await database.write(
            lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
        )
    with pytest.raises(ConfigurationError) as refusal:
        await SqliteDatabase(path, migrations=ledger.MIGRATIONS).open()
    for part in (str(path), "0999", "0003"):
        assert part in refusal.value.detail


def test_who_only_looks_makes_nothing_and_migrates_nothing(path: Path) -> None:
    async def look() -> None:
        async with SqliteDatabase(path, migrations=ledger.MIGRATIONS).looking():
            pass

    async def age() -> None:
        async with SqliteDatabase(path, migrations=ledger.MIGRATIONS) as database:
            await database.write(
                lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
            )

    path.parent.mkdir(exist_ok=True)
    with pytest.raises(StoreUnavailable):
        anyio.run(look)
    assert not path.exists()
    anyio.run(age)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"0001.*0003"):
        anyio.run(look)
    assert path.read_bytes() == before


async def test_two_that_open_a_new_file_at_once_migrate_it_once(path: Path) -> None:
    both = [SqliteDatabase(path, migrations=ledger.MIGRATIONS) for _ in range(2)]
    await asyncio.gather(*[database.open() for database in both])
    for database in both:
        await database.close()


async def test_the_ledger_s_tables_are_what_its_migrations_make(tmp_path: Path) -> None:
    def schema(connection: Connection) -> set[str]:
        sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '%alembic%'"
        return {" ".join(statement.split()) for statement in connection.execute(text(sql)).scalars()}

    async with (
        SqliteDatabase(tmp_path / "migrated.db", migrations=ledger.MIGRATIONS) as migrated,
        SqliteDatabase(tmp_path / "described.db") as described,
    ):
        await described.write(ledger.metadata.create_all)
        assert await migrated.read(schema) == await described.read(schema)
