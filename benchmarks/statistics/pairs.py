"""How many hard verdicts a ranking takes, pairs by the product's rule and by others."""

from __future__ import annotations

import math

from app.cj.statistics.simulation.course import Scene
from app.cj.statistics.simulation.curves import average
from app.cj.statistics.simulation.policies import Policy
from benchmarks.statistics.bar import Bar

SEED = 8
NINETY, EIGHTY = 17.5, 9.0
UNIT = "per essay"


def run() -> list[Bar]:
    """Comparisons per essay until r² with the truth reaches .80 and .90."""
    bars = []
    for policy in (Policy.OURS, Policy.SWISS, Policy.BALANCED, Policy.RANDOM):
        scene = Scene(items=100, policy=policy, rounds=24 if policy is Policy.OURS else 32, position=False)
        curves = average(scene, seed=SEED, repetitions=60 if policy is Policy.OURS else 24)
        ours = policy is Policy.OURS
        bars.append(_bar(f"r² .90, 100 essays, {policy}", curves.needed(0.9), NINETY if ours else None))
        bars.append(_bar(f"r² .80, 100 essays, {policy}", curves.needed(0.8), EIGHTY if ours else None))
    for items, repetitions in ((30, 120), (300, 16)):
        scene = Scene(items=items, rounds=14, position=False)
        curves = average(scene, seed=SEED, repetitions=repetitions)
        bars.append(_bar(f"r² .80, {items} essays, ours", curves.needed(0.8), EIGHTY))
    return bars


def _bar(name: str, value: float | None, most: float | None) -> Bar:
    return Bar(name, math.inf if value is None else value, most=most, unit=UNIT)
