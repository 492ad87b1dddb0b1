"""Two judges of unequal sharpness who share the work: pooled, and with a discrimination for each."""

from __future__ import annotations

import numpy as np

from app.cj.statistics.simulation.course import Scene
from app.cj.statistics.simulation.curves import Curves, average
from app.cj.statistics.simulation.judging import JudgeProfile
from app.cj.statistics.simulation.policies import Policy
from benchmarks.statistics.bar import Bar

SEED = 8
SHARP, BLUNT = 1.0, 0.2


def run() -> list[Bar]:
    """r² at 16 per essay, half of them by a judge at a fifth of the sharpness."""
    pooled, apart = _curves(slopes=False), _curves(slopes=True)
    ratio = np.mean([one.last.slopes[1] / one.last.slopes[0] for one in apart.courses])
    gain = apart.r2[-1] - pooled.r2[-1]
    return [
        Bar("r² at 16 per essay, pooled", float(pooled.r2[-1])),
        Bar("r² at 16 per essay, a discrimination for each", float(apart.r2[-1])),
        Bar("r² gained", float(gain), least=0.05),
        Bar("fitted sharpness of the blunt judge to the sharp one (true .2)", float(ratio)),
    ]


def _curves(*, slopes: bool) -> Curves:
    scene = Scene(
        items=100,
        rounds=16,
        judges=(JudgeProfile(sharpness=SHARP), JudgeProfile(sharpness=BLUNT)),
        policy=Policy.BALANCED,
        slopes=slopes,
        position=False,
    )
    return average(scene, seed=SEED, repetitions=24)
