"""What a judge's preference for the first text costs when it is modelled, and when it is not."""

from __future__ import annotations

import numpy as np

from app.cj.statistics.simulation.course import Scene
from app.cj.statistics.simulation.curves import Curves, average
from app.cj.statistics.simulation.judging import JudgeProfile
from benchmarks.statistics.bar import Bar

SEED = 8
BIAS = 0.9
WITHIN = 0.1
PAIR_NOISE = 0.8
"""The share of errors that belong to the pair, in the scene beside: such a judge takes the same side again."""


def run() -> list[Bar]:
    """Kendall's tau at 20 per essay, and how near the fitted preference is; beside it a judge with errors of pairs."""
    return [*_scene(0.0), *_scene(PAIR_NOISE, after=", pair noise .8", barred=False)]


def _scene(pair_noise: float, *, after: str = "", barred: bool = True) -> list[Bar]:
    fair, modelled, ignored = (
        _curves(bias, pair_noise=pair_noise, position=position)
        for bias, position in ((0.0, True), (BIAS, True), (BIAS, False))
    )
    fitted = np.array([float(course.last.position_means[0]) for course in modelled.courses])
    errors = np.array([float(course.last.position_errors[0]) for course in modelled.courses])
    off = np.abs(fitted - BIAS)
    bars = [
        Bar("tau without bias", float(fair.tau[-1])),
        Bar("tau lost to a bias of .9, modelled", float(fair.tau[-1] - modelled.tau[-1]), most=0.015),
        Bar("tau lost to a bias of .9, ignored", float(fair.tau[-1] - ignored.tau[-1])),
        Bar("mean fitted bias, off .9 by", float(abs(fitted.mean() - BIAS)), most=WITHIN),
        Bar("its standard deviation between batches", float(fitted.std())),
        Bar("share of batches within .1", float(np.mean(off <= WITHIN))),
        Bar("95 % intervals of the bias that hold .9", float(np.mean(off <= 1.96 * errors)), least=0.9),
    ]
    if barred:
        return bars
    return [bar._replace(name=bar.name + after, most=None, least=None) for bar in bars]


def _curves(bias: float, *, pair_noise: float, position: bool) -> Curves:
    judge = JudgeProfile(bias=bias, pair_noise=pair_noise)
    scene = Scene(items=100, rounds=20, judges=(judge,), position=position)
    return average(scene, seed=SEED, repetitions=48)
