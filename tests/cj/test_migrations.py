"""A store of an earlier version is brought up to date with what it holds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, text

from app.cj.batch import BatchSettings
from app.cj.store import BatchStore, batch_of
from app.cj.views import Views
from app.database import Database, SqliteDatabase
from app.database.postgresql import PostgresDatabase

from .conftest import RULES
from .places import MIGRATIONS, shared_url

pytestmark = pytest.mark.anyio
_BATCH = text(
    "INSERT INTO batches (id, title, question, settings, state, essays, created_at)"
    " VALUES (:id, 'Old', 'Which?', :settings, 'running', 0, 1.0)"
)


def _insert(row: dict[str, str], connection: Connection) -> None:
    connection.execute(_BATCH, row)


def history(folder: Path, *, until: str) -> Path:
    """The migrations as they were when `until` was the newest."""
    copy = folder / f"until-{until}"
    later = re.compile(r"\d{4}_")
    shutil.copytree(
        MIGRATIONS, copy, ignore=lambda _, names: [n for n in names if later.match(n) and n[:4] > until]
    )
    return copy


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], Database]:
    """Open one and the same store with the migrations of a folder."""
    if request.param == "sqlite":
        return lambda folder: SqliteDatabase(tmp_path / "cj.db", migrations=folder)
    with psycopg.connect(shared_url(), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS cj_old CASCADE")
    return lambda folder: PostgresDatabase(shared_url(), "cj_old", migrations=folder)


async def test_the_budget_of_a_batch_is_found_in_its_settings(
    opened: Callable[[Path], Database], tmp_path: Path
) -> None:
    async with opened(history(tmp_path, until="0002")) as database:
        for name, budget in (("a", 2.5), ("b", None)):
            settings = BatchSettings(judges=(RULES,), budget_usd=budget).model_dump_json()
            row = {"id": f"00000000-0000-0000-0000-00000000000{name}", "settings": settings}
            await database.write(partial(_insert, row))
    async with opened(MIGRATIONS) as database:
        sql = text("SELECT * FROM batches ORDER BY id")
        rows = await database.read(lambda c: c.execute(sql).all())
        assert [row.budget_usd for row in rows] == [2.5, None]
        assert [batch_of(row).settings.budget_usd for row in rows] == [2.5, None]
        assert await BatchStore(database).claim(limit=1, hold=1.0) == []


async def test_a_batch_from_before_the_path_was_kept_is_read_without_one(
    opened: Callable[[Path], Database], tmp_path: Path
) -> None:
    settings = BatchSettings(judges=(RULES,)).model_dump_json(exclude={"audit_share"})
    row = {"id": str(UUID(int=1)), "settings": settings}
    async with opened(history(tmp_path, until="0003")) as database:
        await database.write(partial(_insert, row))
    async with opened(MIGRATIONS) as database:
        views = Views(database)
        assert await views.fits(UUID(int=1)) == []
        batch = await views.batch(UUID(int=1))
    assert (batch.extended_to, batch.settings.audit_share) == (None, 0.0)
