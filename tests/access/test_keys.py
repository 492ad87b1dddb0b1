"""Keys in their database, and who is recognised by them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import anyio
import psycopg
import pytest
from sqlalchemy import Connection

from app.access.access import Access
from app.access.audit import Audit, Outcome, note
from app.access.credential import draw
from app.access.hosts import Hosts
from app.access.keyring import FRESH, Keyring
from app.access.keys import SESSION, Holder, Keys
from app.access.scopes import ALL, Scope, scopes_of
from app.access.tables import MIGRATIONS
from app.database import Database, SqliteDatabase
from app.database.postgresql import PostgresDatabase
from app.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable, Unauthorized
from tests import engines
from tests.access.conftest import DAY, Clock

pytestmark = pytest.mark.anyio


class Reads(Keys):
    """Counts how often every key is read."""

    number = 0

    async def live(self) -> tuple[float, Mapping[str, Holder]]:
        self.number += 1
        return await super().live()


class Stock(NamedTuple):
    keys: Reads
    keyring: Keyring
    audit: Audit
    clock: Clock
    database: Database
    another: Callable[[], Database]
    """The way of another process to the same keys."""

    async def make(self, name: str = "alice", expires_in: float | None = None) -> bytes:
        _, credential = await self.keys.create(name, Scope.READ, expires_in=expires_in, by="test")
        return credential.text.encode()

    async def knows(self, text: bytes) -> bool:
        return await self.keyring.holder(text) is not None

    async def holder(self, text: bytes) -> Holder:
        found = await self.keyring.holder(text)
        assert found is not None
        return found


@cache
def shared_url() -> str:
    return engines.postgresql().create("access")


def emptied(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('access.audit')").fetchone() != (None,):
            connection.execute("TRUNCATE access.keys, access.audit RESTART IDENTITY")


def on_sqlite(folder: Path, busy_timeout: float = 5.0) -> Database:
    return SqliteDatabase(folder / "access.db", migrations=MIGRATIONS, busy_timeout=busy_timeout)


def on_postgresql() -> Database:
    return PostgresDatabase(shared_url(), "access", migrations=MIGRATIONS)


@asynccontextmanager
async def stocked(another: Callable[[], Database]) -> AsyncIterator[Stock]:
    clock = Clock()
    async with another() as database:
        keys = Reads(database, clock=clock)
        keyring = Keyring(keys, ticks=clock)
        yield Stock(keys, keyring, Audit(database, clock=clock), clock, database, another)


@pytest.fixture(params=["sqlite", "postgresql"])
async def stock(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stock]:
    if request.param == "postgresql":
        emptied(shared_url())
    async with stocked(partial(on_sqlite, tmp_path) if request.param == "sqlite" else on_postgresql) as stock:
        yield stock


@pytest.fixture
async def filed(tmp_path: Path) -> AsyncIterator[Stock]:
    """Keys in a file that the test may look into."""
    async with stocked(partial(on_sqlite, tmp_path, 0.05)) as stock:
        yield stock


async def test_a_new_key_opens_at_once_even_when_the_others_were_just_read(stock: Stock) -> None:
    assert await stock.knows(await stock.make())
    stock.clock.now += FRESH / 10
    assert await stock.knows(await stock.make("bob"))


async def test_a_key_revoked_by_another_process_opens_nothing_after_the_time_that_memory_is_believed(
    stock: Stock,
) -> None:
    text = await stock.make()
    assert await stock.knows(text)
    async with stock.another() as other:
        await Keys(other, clock=stock.clock).revoke("alice", by="test")
    assert FRESH <= 2
    stock.clock.now += FRESH
    assert not await stock.knows(text)


async def test_an_expired_key_opens_nothing_from_that_moment_on(stock: Stock) -> None:
    text = await stock.make(expires_in=DAY)
    stock.clock.now += DAY - FRESH / 4
    assert await stock.knows(text)
    stock.clock.now += FRESH / 4
    assert not await stock.knows(text)


async def test_keys_sessions_and_audit_go_by_the_clock_of_the_database(tmp_path: Path) -> None:
    """Machines disagree: a key must not end on one of them and go on on the next."""

    class Elsewhen(SqliteDatabase):
        moment = 1_000_000_000.0

        def now(self, connection: Connection) -> float:
            return self.moment

    database, ticks = Elsewhen(tmp_path / "access.db", migrations=MIGRATIONS), Clock(0.0)
    async with Access(
        database, hosts=Hosts("127.0.0.1", (), keyed=True), enabled=True, ticks=ticks
    ) as access:
        began = database.moment
        key, credential = await access.keys.create("alice", Scope.READ, expires_in=DAY, by="test")
        assert (key.created_at, key.expires_at) == (began, began + DAY)
        _, seconds = await access.sign_in(credential.text)
        assert seconds == SESSION
        assert {entry.at for entry in await access.audit.latest(10)} == {began}
        ticks.now, database.moment = ticks.now + FRESH, began + DAY
        with pytest.raises(Unauthorized):
            await access.sign_in(credential.text)


async def test_recognising_a_known_key_reads_nothing(stock: Stock) -> None:
    text = await stock.make()
    await stock.knows(text)
    before = stock.keys.number
    for _ in range(100):
        assert await stock.knows(text)
    assert stock.keys.number == before


async def test_all_who_show_unknown_keys_at_once_share_a_read(stock: Stock) -> None:
    await stock.knows(await stock.make())
    stock.clock.now += FRESH
    before = stock.keys.number
    ticking = Keyring(stock.keys, ticks=anyio.current_time)

    async def guess_it() -> None:
        assert await ticking.holder(draw().text.encode()) is None

    async with anyio.create_task_group() as guesses:
        for _ in range(200):
            guesses.start_soon(guess_it)
    assert stock.keys.number - before <= 2


async def test_keys_that_cannot_be_read_are_not_believed_for_longer(stock: Stock) -> None:
    text = await stock.make()
    assert await stock.knows(text)
    await stock.database.close()
    assert await stock.knows(text)
    stock.clock.now += FRESH
    with pytest.raises(StoreUnavailable):
        await stock.knows(text)


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_the_database_holds_no_secret(filed: Stock, tmp_path: Path) -> None:
    text = await filed.make()
    session, _ = await filed.keys.open_session(await filed.holder(text))
    await filed.database.checkpoint()
    stored = await asyncio.to_thread(contents, tmp_path)
    assert text[6:14] in stored
    assert text[15:] not in stored
    assert session.secret not in stored


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "é", "a/b", "a\n", "local", "os:root"])
async def test_a_name_that_is_not_allowed_is_refused(stock: Stock, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await stock.make(name)


def test_scopes_are_read_by_name_and_admin_brings_all() -> None:
    assert scopes_of(["read", "submit"]) == Scope.READ | Scope.SUBMIT
    assert scopes_of(["admin"]).implied == ALL
    assert scopes_of(["operate"]).implied == Scope.OPERATE
    for words in (["reed"], [], ["read submit"]):
        with pytest.raises(InvalidRequest):
            scopes_of(words)


async def test_a_key_is_revoked_once_by_id_or_with_all_of_its_name(stock: Stock) -> None:
    first, second = await stock.make(), await stock.make()
    other = await stock.make("bob")
    await stock.keys.revoke(first[6:14].decode(), by="test")
    assert [await stock.knows(text) for text in (first, second, other)] == [False, True, True]
    third = await stock.make()
    assert len(await stock.keys.revoke("alice", by="test")) == 2
    stock.clock.now += FRESH
    assert [await stock.knows(text) for text in (second, third, other)] == [False, False, True]
    for gone in ("alice", first[6:14].decode(), "nobody"):
        with pytest.raises(NotFound):
            await stock.keys.revoke(gone, by="test")


async def test_making_and_revoking_are_audited_with_who_did_it(stock: Stock) -> None:
    await stock.keys.create("alice", Scope.READ | Scope.JUDGE, by="os:root")
    await stock.keys.revoke("alice", by="os:eve")
    made, ended = await stock.audit.latest(10)
    assert (made.principal, made.action, made.detail) == ("os:root", "key new", "alice: read judge")
    assert (ended.principal, ended.action, ended.detail) == ("os:eve", "key revoke", "alice")
    assert made.target == ended.target


async def test_use_is_noted_at_most_once_a_minute(stock: Stock) -> None:
    text = await stock.make()
    holder = await stock.holder(text)

    async def noted() -> float | None:
        (key,) = await stock.keys.all()
        return key.last_used_at

    began = stock.clock.now
    assert await noted() is None
    await stock.keyring.note_use(holder)
    assert await noted() == began
    stock.clock.now += 59
    await stock.keyring.note_use(holder)
    assert await noted() == began
    stock.clock.now += 1
    await stock.keyring.note_use(holder)
    assert await noted() == began + 60


async def test_use_that_cannot_be_noted_stops_nobody(filed: Stock, tmp_path: Path) -> None:
    holder = await filed.holder(await filed.make())
    with closing(sqlite3.connect(tmp_path / "access.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await filed.keyring.note_use(holder)


async def test_a_session_has_the_name_and_scopes_of_its_key_and_ends_with_the_day(stock: Stock) -> None:
    holder = await stock.holder(await stock.make())
    session, seconds = await stock.keys.open_session(holder)
    assert seconds == SESSION
    found = await stock.holder(session.text.encode())
    assert (found.name, found.scopes, found.root) == (holder.name, holder.scopes, holder.id)
    assert len(await stock.keys.all()) == 1
    stock.clock.now += SESSION
    assert not await stock.knows(session.text.encode())


async def test_a_session_ends_with_its_key(stock: Stock) -> None:
    short = await stock.holder(await stock.make(expires_in=100))
    session, seconds = await stock.keys.open_session(short)
    assert seconds == 100
    await stock.keys.revoke("alice", by="test")
    stock.clock.now += FRESH
    assert not await stock.knows(session.text.encode())
    with pytest.raises(Unauthorized):
        await stock.keys.open_session(short)


async def test_who_signs_in_over_and_over_keeps_a_bounded_number_of_sessions(stock: Stock) -> None:
    holder = await stock.holder(await stock.make())
    sessions = []
    for _ in range(60):
        stock.clock.now += 1
        sessions.append((await stock.keys.open_session(holder))[0].text.encode())
    alive = [await stock.knows(session) for session in sessions]
    assert alive == [False] * 10 + [True] * 50
    stock.clock.now += SESSION
    await stock.keys.open_session(holder)
    assert len((await stock.keys.live())[1]) == 2


async def test_the_use_of_a_session_is_noted_at_its_key(stock: Stock) -> None:
    session, _ = await stock.keys.open_session(await stock.holder(await stock.make()))
    await stock.keyring.note_use(await stock.holder(session.text.encode()))
    (key,) = await stock.keys.all()
    assert key.last_used_at == stock.clock.now


async def test_a_credential_is_let_in_once(stock: Stock) -> None:
    drawn = draw()
    await stock.keys.create("alice", Scope.READ, by="test", credential=drawn)
    with pytest.raises(Conflict):
        await stock.keys.create("bob", Scope.READ, by="test", credential=drawn)
    assert [key.name for key in await stock.keys.all()] == ["alice"]
    assert len(await stock.audit.latest(10)) == 1


async def test_no_session_outlives_a_key_that_another_process_revokes_at_that_moment(stock: Stock) -> None:
    async with stock.another() as other:
        elsewhere = Keys(other, clock=stock.clock)
        for number in range(30):
            holder = await stock.holder(await stock.make(f"k{number}"))
            await asyncio.gather(
                stock.keys.open_session(holder),
                stock.keys.open_session(holder),
                elsewhere.revoke(holder.id, by="test"),
                return_exceptions=True,
            )
            _, live = await stock.keys.live()
            assert not live


async def test_who_signs_in_from_two_processes_at_once_never_waits_for_the_other_for_ever(
    stock: Stock,
) -> None:
    async with stock.another() as other:
        elsewhere = Keys(other, clock=stock.clock)
        one, two = [await stock.holder(await stock.make(name)) for name in ("alice", "bob")]
        for _ in range(10):
            await asyncio.gather(
                *(keys.open_session(holder) for keys in (stock.keys, elsewhere) for holder in (one, two, one))
            )
            stock.clock.now += SESSION  # every session is to be deleted by whoever comes next


async def test_a_cursor_in_the_log_passes_over_no_row_that_another_process_writes(stock: Stock) -> None:
    begun, seen = threading.Event(), threading.Event()

    def slowly(connection: Connection) -> None:
        note(connection, stock.clock.now, "bob", "look", target="", outcome=Outcome.DONE)
        begun.set()
        seen.wait(0.3)  # were the log not held, the other would be seen by then

    async with stock.another() as other:
        slow = other.submit_write(slowly)
        await asyncio.to_thread(begun.wait, 10)
        number = await stock.audit.write("alice", "look", target="", outcome=Outcome.DONE)
        found = [entry.principal for entry in await stock.audit.after(0, limit=10)]
        seen.set()
        await asyncio.wrap_future(slow)
    assert found == ["bob", "alice"]
    assert await stock.audit.after(number, limit=1) == await stock.audit.after(10**18, limit=1) == []
