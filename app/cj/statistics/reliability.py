"""How far the scores can be trusted, and how well two orders agree."""

import math
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray


def eb_reliability(standard_errors: FloatArray, sigma: float) -> float:
    """Empirical-Bayes reliability: the share of the spread of true scores that the verdicts explain.

    1 - mean(SE^2) / (sigma^2 (1 - 1/n)), clipped to [0, 1]. SE is the posterior sd of theta_i - mean(theta),
    whose prior variance is sigma^2 (1 - 1/n): without verdicts the figure is exactly 0. Unlike SSR it stays
    low for a judge who tosses coins under adaptive pairing (Bramley 2015; Bramley & Vitello 2019).
    A single item has no spread: 0.
    """
    items = len(standard_errors)
    if items < 2:  # noqa: PLR2004 -- one item cannot be ranked
        return 0.0
    unexplained = float(np.mean(standard_errors**2)) / (sigma**2 * (1.0 - 1.0 / items))
    return min(1.0, max(0.0, 1.0 - unexplained))


@dataclass(frozen=True, slots=True)
class SeparationReliability:
    """Scale separation reliability, a legacy figure, in the two formulas that are in print.

    With V the sample variance of the scores and MSE the mean squared standard error: `of_true_spread` is
    (V - MSE) / V, also written G^2 / (1 + G^2) with G = sqrt(V - MSE) / RMSE (Wright & Masters 1982; Bramley 2015;
    Verhavert et al. 2018): right for maximum-likelihood scores, whose variance holds the error, and too low for
    scores that a prior has drawn in. `of_observed_spread` is V / (V + MSE), the same G^2 / (1 + G^2) with G =
    sqrt(V) / RMSE: always the higher of the two, and right for scores that a prior has drawn in.
    Both are inflated by adaptive pairing, up to .96 for a judge who tosses coins; hence `eb_reliability`.
    """

    of_true_spread: float
    of_observed_spread: float


def separation_reliability(scores: FloatArray, standard_errors: FloatArray) -> SeparationReliability:
    """Both formulas of SSR, clipped to [0, 1]; 0 when the scores have no spread, NaN when a score is not finite."""
    if len(scores) < 2:  # noqa: PLR2004 -- one item has no spread
        return SeparationReliability(0.0, 0.0)
    if not (np.isfinite(scores).all() and np.isfinite(standard_errors).all()):
        return SeparationReliability(math.nan, math.nan)
    spread, error = float(np.var(scores, ddof=1)), float(np.mean(standard_errors**2))
    if spread == 0.0:
        return SeparationReliability(0.0, 0.0)
    return SeparationReliability(max(0.0, 1.0 - error / spread), spread / (spread + error))
