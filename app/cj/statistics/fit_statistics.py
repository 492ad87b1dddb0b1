"""Infit and outfit: do the verdicts about an essay, or of a judge, contradict the scale more than chance would?

Each verdict has residual r = outcome - p and variance w = p (1 - p). Outfit is the mean of r^2 / w, infit the sum of
r^2 over the sum of w (Wright & Masters 1982; for comparative judgement Pollitt 2012). Infit weighs close pairs, outfit
is moved by a single upset. Here p is what the other verdicts lead to expect (`expected.deleted`), so that both are 1
on average however few verdicts there are; a tie, halfway between two outcomes, lowers them.
"""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.expected import deleted, expected
from app.cj.statistics.verdicts import Verdicts

MISFIT_Z = 2.5
"""Infit this many standard deviations above 1 is misfit: by chance one essay in 160."""

MISFIT_SIZE = 1.2
"""Below, misfit is too small to matter: where all chances are near one half, any z is made of next to nothing."""

_LEAST_WEIGHT = 1e-12  # p beyond 1 - 1e-12: one upset there would be all that the mean shows


@dataclass(frozen=True, slots=True, eq=False)
class FitStatistics:
    """Mean squares per essay or per judge, shape (k,); NaN where there are no verdicts.

    `infit_z`: infit v as a standard normal deviate, z = 3 (cuberoot(v) - 1) / q + q / 3, where q is the sd of v,
    sqrt(sum (w - 4 w^2)) / sum w (Wilson & Hilferty 1931, as in Wright & Masters 1982): positive for more
    contradiction than chance, negative for less. 0 where every chance is one half, for then r^2 / w is always 1.
    `agreement`: share of verdicts for the essay with the higher score, a tie counting half; `expected_agreement`: what
    the fit expects that share to be.
    """

    verdicts: IntArray
    infit: FloatArray
    outfit: FloatArray
    infit_z: FloatArray
    agreement: FloatArray
    expected_agreement: FloatArray

    @property
    def misfits(self) -> IntArray:
        """Numbers of those whose infit is at least `MISFIT_SIZE` and `MISFIT_Z` above chance, worst first."""
        z = np.where(self.infit >= MISFIT_SIZE, self.infit_z, 0.0)
        order = np.argsort(-z, kind="stable")
        return np.asarray(order[z[order] > MISFIT_Z], dtype=np.int64)


def essay_fit(verdicts: Verdicts, fit: Fit) -> FitStatistics:
    """Mean squares per essay, over the verdicts in which it was shown; shape (n,)."""
    groups = np.concatenate((verdicts.first, verdicts.second))
    return _statistics(verdicts, fit, groups, len(fit.scores))


def judge_fit(verdicts: Verdicts, fit: Fit) -> FitStatistics:
    """Mean squares per judge configuration, shape (J,)."""
    return _statistics(verdicts, fit, verdicts.judge, len(fit.positions))


def _statistics(verdicts: Verdicts, fit: Fit, groups: IntArray, size: int) -> FitStatistics:
    times = len(groups) // max(len(verdicts), 1)  # an essay's groups list every verdict from both ends

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(groups, np.tile(values, times), size), dtype=np.float64)

    known = deleted(verdicts, fit)
    square, weight = known.residual**2, known.weight
    count = np.bincount(groups, minlength=size).astype(np.int64)
    sure = np.maximum(weight, _LEAST_WEIGHT)
    side = np.sign(fit.scores[verdicts.first] - fit.scores[verdicts.second])
    with np.errstate(divide="ignore", invalid="ignore"):
        infit = total(square) / total(weight)
        # variance of r^2 is w - 4 w^2, since r^2 is (1 - p)^2 with chance p and p^2 with chance 1 - p
        spread = np.sqrt(total(weight - 4.0 * weight**2)) / total(weight)
        z = (np.cbrt(infit) - 1.0) * 3.0 / spread + spread / 3.0
        return FitStatistics(
            verdicts=count,
            infit=infit,
            outfit=total(square / sure) / count,
            infit_z=np.where(spread > 0.0, z, np.where(count > 0, 0.0, np.nan)),
            agreement=total(0.5 + side * (verdicts.outcome - 0.5)) / count,
            expected_agreement=total(0.5 + side * (expected(verdicts, fit).chance - 0.5)) / count,
        )
