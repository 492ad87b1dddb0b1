"""What a deletion leaves on the disk when its process dies in the middle."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from app.cj.batch import BatchState
from app.cj.store import BatchStore
from app.database import SqliteDatabase

from .conftest import batch_of
from .places import MIGRATIONS, SqlitePlace

pytestmark = pytest.mark.anyio


class Photographed(SqliteDatabase):
    """Keeps what a process that dies between the deletion and its checkpoint leaves in its folder."""

    async def checkpoint(self) -> None:
        assert self.path is not None
        shutil.copytree(self.path.parent, self.path.parent.with_name("left"))
        await super().checkpoint()


async def test_what_a_process_deleted_just_before_it_died_is_overwritten_by_the_next(tmp_path: Path) -> None:
    async with Photographed(tmp_path / "life" / "cj.db", migrations=MIGRATIONS) as database:
        store, batch_id = BatchStore(database), uuid4()
        await store.create(batch_id, batch_of(4), start=False)
        await store.change(batch_id, BatchState.DELETING, out_of=(BatchState.READY,))
        assert await store.bury() == 1
    left = SqlitePlace(tmp_path / "left")
    assert left.holds("essay number")
    async with left.database() as database:
        assert await BatchStore(database).bury() == 0
        assert not left.holds("essay number")
