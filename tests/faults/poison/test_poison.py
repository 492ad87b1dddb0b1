"""Whatever lies on the topic, it is parked with its reason and its bytes, and the rest flows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.bus_worlds import WORLDS

from .campaign import POSITIONS, poison
from .kinds import KINDS

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("bus", WORLDS)
async def test_every_kind_of_bad_event_is_parked_or_passes_and_its_neighbours_are_recorded_once(
    bus: str, tmp_path: Path
) -> None:
    findings = await poison(WORLDS[bus].world(), tmp_path)
    assert findings.wrong == []
    assert findings.cases == len(KINDS) * len(POSITIONS)
    tolerated = sum(kind.reason is None for kind in KINDS.values())
    assert findings.passed == tolerated * len(POSITIONS)
    assert findings.parked == findings.cases - findings.passed


def test_there_are_thirty_five_kinds() -> None:
    assert len(KINDS) == 35
