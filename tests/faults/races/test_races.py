"""Every interleaving of every race keeps the promises, and each race tells when a promise is broken."""

from __future__ import annotations

import pytest

from .campaign import RACES
from .stage import enumerated


@pytest.mark.parametrize("name", RACES)
def test_every_interleaving_keeps_the_promises(name: str) -> None:
    entry = RACES[name]
    found = enumerated(entry.race, essays=entry.essays)
    assert found.broken == []
    assert found.interleavings >= entry.interleavings


@pytest.mark.parametrize("name", RACES)
def test_an_interleaving_catches_the_mutant(name: str) -> None:
    entry = RACES[name]
    assert enumerated(entry.race, entry.mutant, essays=entry.essays, until_broken=True).broken
