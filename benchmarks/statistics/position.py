"""What a judge's preference for the first text costs when it is modelled, and when it is not."""

from __future__ import annotations

import numpy as np

from app.cj.statistics.normal import TWO_SIDED_95
from app.cj.statistics.simulation.course import Scene
from app.cj.statistics.simulation.curves import Curves, average
from app.cj.statistics.simulation.judging import JudgeProfile
from benchmarks.statistics.bar import Bar

SEED = 8
BIAS = 0.9
PAIR_NOISE = 0.8


def run() -> list[Bar]:
    """Kendall's tau at 20 per essay, and how near the fitted preference is."""
    fair, modelled, ignored = (
        _curves(bias, position=position) for bias, position in ((0.0, True), (BIAS, True), (BIAS, False))
    )
    fitted = np.array([float(course.last.positions[0]) for course in modelled.courses])
    inside = [
        abs(course.last.positions[0] - BIAS) <= TWO_SIDED_95 * course.last.position_errors[0]
        for course in modelled.courses
    ]
    return [
        Bar("tau without bias", float(fair.tau[-1])),
        Bar("tau lost to a bias of .9, modelled", float(fair.tau[-1] - modelled.tau[-1]), most=0.015),
        Bar("tau lost to a bias of .9, ignored", float(fair.tau[-1] - ignored.tau[-1])),
        Bar("mean fitted bias, off .9 by", float(abs(fitted.mean() - BIAS)), most=0.1),
        Bar("its standard deviation between batches", float(fitted.std())),
        Bar("95 % intervals of the bias that hold .9", float(np.mean(inside)), least=0.9),
    ]


def _curves(bias: float, *, position: bool) -> Curves:
    scene = Scene(
        items=100, rounds=20, judges=(JudgeProfile(bias=bias, pair_noise=PAIR_NOISE),), position=position
    )
    return average(scene, seed=SEED, repetitions=48)
