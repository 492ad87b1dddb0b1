"""Engines of a test's own, which it may hang or kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines import PostgreSQL


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL(fsync=False)
    server.start()
    yield server
    server.close()
