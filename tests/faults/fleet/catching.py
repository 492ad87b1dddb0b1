"""Whether a toll sees a defect: the proof that it can see."""

from __future__ import annotations

from collections.abc import Callable

from tests.faults.findings import Figure

from .fleet import Fleet

PATIENCE = 20.0
"""Seconds for what goes on by itself; what a defect lost is not back by then."""


def caught(fleet: Fleet, words: str, mischief: Callable[[Fleet], None]) -> tuple[Figure, list[str]]:
    """Do mischief to a fleet with a defect, and count; the figure says what the toll noticed."""
    with fleet:
        mischief(fleet)
        fleet.settle(PATIENCE)
        toll = fleet.toll()
    counts = {"lost": toll.lost, "double": toll.double, "recount": toll.recount, "not kept": toll.unkept}
    seen = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    figure = Figure(
        f"seeded defect: {words}", f"caught: {seen}" if seen else "not caught", "caught", bool(seen)
    )
    return figure, [f"{words}: {one[:200]}" for one in toll.complaints[-3:]]
