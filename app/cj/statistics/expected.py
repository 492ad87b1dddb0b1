"""What a fit expects of each verdict: the common ground of all quality figures."""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.verdicts import Verdicts

TIE = 0.5
"""As an outcome."""

EVEN = 0.5
"""As a chance."""


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """Per verdict, shape (m,), what was to be expected and what came.

    `chance`: P(the first wins). `weight`: its variance, chance * (1 - chance). `residual`: outcome - chance.
    """

    chance: FloatArray
    weight: FloatArray
    residual: FloatArray


def expected(verdicts: Verdicts, fit: Fit) -> Expected:
    """P(first wins) = logistic(slope_j (theta_first - theta_second) + position_j) for judge j of the verdict.

    An infinite score (maximum likelihood of an undefeated item) makes a verdict certain: weight 0.
    """
    logit = fit.slopes[verdicts.judge] * (fit.scores[verdicts.first] - fit.scores[verdicts.second])
    logit = logit + fit.positions[verdicts.judge]
    fading = np.exp(-np.abs(logit))
    chance = np.where(logit >= 0.0, 1.0, fading) / (1.0 + fading)
    weight = fading / (1.0 + fading) ** 2
    return Expected(chance, weight, verdicts.outcome - chance)
