"""What every benchmark returns."""

from __future__ import annotations

from typing import NamedTuple


class Result(NamedTuple):
    """One figure of ours beside its floor, in the same unit; the ratio should reach the bar."""

    name: str
    ours: float
    floor: float
    unit: str
    bar: float

    @property
    def ratio(self) -> float:
        """Ours as a share of the floor."""
        return self.ours / self.floor
