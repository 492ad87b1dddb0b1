"""How many hard verdicts a ranking takes, pairs by the product's rule and by others."""

from __future__ import annotations

import math

from app.cj.statistics.simulation.course import Scene
from app.cj.statistics.simulation.curves import Curves, average
from app.cj.statistics.simulation.policies import Policy
from benchmarks.statistics.bar import Bar

SEED = 8
NINETY, EIGHTY = 17.5, 9.0
UNIT = "per essay"


def run() -> list[Bar]:
    """Comparisons per essay until r² with the truth reaches .80 and .90."""
    ours = _curves(100, 22, repetitions=60)
    alone = _curves(100, 22, repetitions=30, in_flight=1)
    bars = [
        _bar("r² .90, 100 essays, ours", ours, 0.9, NINETY),
        *(_bar(f"r² .80, {items} essays, ours", curves, 0.8, EIGHTY) for items, curves in (
            (30, _curves(30, 14, repetitions=120)),
            (100, ours),
            (300, _curves(300, 14, repetitions=16)),
        )),
        _bar("r² .90, 100 essays, ours with one round under way instead of two", alone, 0.9),
        _bar("r² .80, 100 essays, ours with one round under way instead of two", alone, 0.8),
    ]  # fmt: skip
    for policy in (Policy.SWISS, Policy.BALANCED, Policy.RANDOM):
        curves = _curves(100, 32, repetitions=24, policy=policy)
        bars += [_bar(f"r² {goal:.2f}, 100 essays, {policy}", curves, goal) for goal in (0.9, 0.8)]
    return bars


def _curves(
    items: int, rounds: int, *, repetitions: int, policy: Policy = Policy.OURS, in_flight: int = 2
) -> Curves:
    scene = Scene(items=items, rounds=rounds, policy=policy, in_flight=in_flight, position=False)
    return average(scene, seed=SEED, repetitions=repetitions)


def _bar(name: str, curves: Curves, goal: float, most: float | None = None) -> Bar:
    needed = curves.needed(goal)
    return Bar(name, math.inf if needed is None else needed, most=most, unit=UNIT)
