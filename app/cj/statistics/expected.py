"""What a fit expects of each verdict: the common ground of all quality figures."""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.verdicts import Verdicts

TIE = 0.5
"""As an outcome."""

_MOST_LEVERAGE = 0.9  # a verdict that is nearly all that is known of an essay


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
    return _of_logit(verdicts, _logit(verdicts, fit))


def chance_to_agree(p: FloatArray, q: FloatArray) -> FloatArray:
    """The chance that two independent verdicts name the same of two essays: it wins with chance p, and with chance q."""
    return np.asarray(p * q + (1.0 - p) * (1.0 - q))


def deleted(verdicts: Verdicts, fit: Fit) -> Expected:
    """What the other verdicts alone lead to expect of each verdict.

    A verdict draws the scores towards itself, so its plain residual is too small: over 200 essays with 12 verdicts
    each, sum r^2 / sum w is .71 instead of 1. Taking the verdict out moves its logit by -V r / (1 - h) and widens V to
    V / (1 - h), where V is the posterior variance of the logit and h = w V its leverage (one Newton step, Pregibon
    1981); averaged over what is still unknown, P = logistic(logit / sqrt(1 + pi V / 8)) (MacKay 1992). V is slope^2
    (SE^2 + SE^2): the two scores are taken as independent, which makes sum r^2 / sum w .92 to 1.02 for judges who
    follow the model.
    """
    logit, plain = _logit(verdicts, fit), expected(verdicts, fit)
    variance = np.square(fit.standard_errors[verdicts.first]) + np.square(
        fit.standard_errors[verdicts.second]
    )
    variance = np.nan_to_num(np.square(fit.slopes[verdicts.judge]) * variance, nan=0.0, posinf=0.0)
    kept = 1.0 - np.minimum(plain.weight * variance, _MOST_LEVERAGE)
    moved = logit - variance * plain.residual / kept
    return _of_logit(verdicts, moved / np.sqrt(1.0 + np.pi / 8.0 * variance / kept))


def _logit(verdicts: Verdicts, fit: Fit) -> FloatArray:
    gap = fit.scores[verdicts.first] - fit.scores[verdicts.second]
    return np.asarray(fit.slopes[verdicts.judge] * gap + fit.positions[verdicts.judge], dtype=np.float64)


def _of_logit(verdicts: Verdicts, logit: FloatArray) -> Expected:
    fading = np.exp(-np.abs(logit))
    chance = np.where(logit >= 0.0, 1.0, fading) / (1.0 + fading)
    return Expected(chance, fading / (1.0 + fading) ** 2, verdicts.outcome - chance)
