"""Does it matter which essay is shown first? Position bias, and what the same judge says with sides swapped."""

import math
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.expected import chance_to_agree, expected
from app.cj.statistics.normal import TWO_SIDED_95, wilson_interval
from app.cj.statistics.verdicts import Verdicts

MOST_BIAS = 0.9
"""Logits: beyond, the first essay wins more than 71 of 100 equal pairs, or fewer than 29."""

LEAST_CONSISTENCY = 0.80
FEWEST_AUDITS = 10
"""Below, one or two audits that went the other way would raise the alarm."""


def is_alarming(estimate: float, low: float, high: float) -> bool:
    """Whether a bias lies beyond `MOST_BIAS` on either side, and its interval beside 0: a few verdicts show nothing."""
    return abs(estimate) > MOST_BIAS and low * high > 0.0


@dataclass(frozen=True, slots=True)
class PositionBias:
    """Of one judge configuration, posterior mean in logits with 95 % interval; above 0 whoever is shown first is favoured.

    `first_wins`: how often the first did win, whatever the essays, of `verdicts`; NaN without verdicts.
    """

    judge: int
    verdicts: int
    estimate: float
    se: float
    low: float
    high: float
    first_wins: float

    @property
    def alarming(self) -> bool:
        """See `is_alarming`."""
        return is_alarming(self.estimate, self.low, self.high)


@dataclass(frozen=True, slots=True)
class SwapConsistency:
    """Of one judge configuration: `share` of `audits` in which swapping the sides left the winner the same.

    A tie against a win counts half. NaN without audits. `low`, `high`: the 95 % interval. `expected`: by the fit, if
    the judge's errors were drawn anew each time, the mean of p q + (1 - p) (1 - q) for the chances p and q that the same
    essay wins when shown first and when shown second; a judge at temperature 0 repeats itself and lies above.
    """

    judge: int
    audits: int
    share: float
    low: float
    high: float
    expected: float

    @property
    def alarming(self) -> bool:
        """Below `LEAST_CONSISTENCY` beyond chance, in at least `FEWEST_AUDITS` audits."""
        return self.audits >= FEWEST_AUDITS and self.high < LEAST_CONSISTENCY


def position_biases(verdicts: Verdicts, fit: Fit) -> list[PositionBias]:
    """One for each judge configuration, from the position terms of the fit."""
    found = []
    for judge, (estimate, se) in enumerate(
        zip(fit.position_means.tolist(), fit.position_errors.tolist(), strict=True)
    ):
        mine = verdicts.outcome[verdicts.judge == judge]
        found.append(
            PositionBias(
                judge=judge,
                verdicts=len(mine),
                estimate=estimate,
                se=se,
                low=estimate - TWO_SIDED_95 * se,
                high=estimate + TWO_SIDED_95 * se,
                first_wins=float(mine.mean()) if mine.size else math.nan,
            )
        )
    return found


def shared_position(means: FloatArray, errors: FloatArray, *, prior: bool) -> tuple[float, float]:
    """One position for all judges, in logits, as if they shared it: its mean and standard error.

    Each posterior N(m, se^2) holds the prior N(0, 1); taken away, it leaves what the verdicts say, with precision
    se^-2 - 1. All of that and the prior once have precision P = 1 + sum(se^-2 - 1) and mean sum(m se^-2) / P. Without a
    `prior` P is sum(se^-2). Judges are taken as independent given the scores.
    """
    told = errors**-2.0
    precision = float(told.sum() - len(told) + 1.0) if prior else float(told.sum())
    return float(means @ told) / precision, precision**-0.5


def swap_consistencies(verdicts: Verdicts, fit: Fit) -> list[SwapConsistency]:
    """One for each judge configuration, over the pairs that it judged in both orders.

    A pair judged several times in one order counts once, with its mean.
    """
    items, known = len(fit.scores), expected(verdicts, fit)
    found = []
    for judge in range(len(fit.positions)):
        mine = verdicts.judge == judge
        asked, place, count = np.unique(
            verdicts.first[mine] * items + verdicts.second[mine], return_inverse=True, return_counts=True
        )
        said = np.bincount(place, verdicts.outcome[mine], len(asked)) / count
        chance = np.bincount(place, known.chance[mine], len(asked)) / count
        swapped = asked % items * items + asked // items
        _, one, other = np.intersect1d(asked, swapped, assume_unique=True, return_indices=True)
        once = asked[one] // items < asked[one] % items
        one, other = one[once], other[once]
        audits = len(one)
        same = float((1.0 - np.abs(said[one] - (1.0 - said[other]))).sum())
        p, q = chance[one], 1.0 - chance[other]
        low, high = wilson_interval(same, audits)
        found.append(
            SwapConsistency(
                judge=judge,
                audits=audits,
                share=same / audits if audits else math.nan,
                low=low,
                high=high,
                expected=float(chance_to_agree(p, q).mean()) if audits else math.nan,
            )
        )
    return found
