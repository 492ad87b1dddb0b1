"""What every measurement of the statistics returns."""

from __future__ import annotations

from typing import NamedTuple


class Bar(NamedTuple):
    """One figure beside the limit it must keep; without a limit it is there for comparison."""

    name: str
    value: float
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        return (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )

    @property
    def limit(self) -> str:
        """The limit in signs."""
        if self.most is not None:
            return f"≤ {self.most:g}"
        return "" if self.least is None else f"≥ {self.least:g}"

    @property
    def word(self) -> str:
        """The answer in one word."""
        if self.most is None and self.least is None:
            return ""
        return "ok" if self.ok else "missed"
