from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.provider.provider_world import World


@pytest.fixture
async def world(tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    async with World(tmp_path / "provider.db") as opened:
        yield opened
