"""The mode of the posterior, where scores and positions are likeliest, and the way from there to its mean.

A tie is half a win and half a loss. The prior keeps undefeated and disconnected items finite.
"""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, NotConverged
from app.cj.statistics.information import Information
from app.cj.statistics.tally import Bets, Tally

_MAX_NEWTON_STEPS = 100
_MAX_HALVINGS = 30
_GRADIENT_TOLERANCE = 1e-12
_GRADIENT_ROUNDING = 1e-14  # per bet on the busiest judge or item
_LOOSEST_SOLVE, _TIGHTEST_SOLVE = 0.1, 1e-6
_MEAN_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Mode:
    """Where the posterior is highest, and the Newton steps it took to get there."""

    state: FloatArray
    steps: int


def find_mode(tally: Tally, precision: float, start: FloatArray) -> Mode:
    """Damped Newton from `start`; the posterior is concave in scores and positions, so there is one mode.

    Each step is solved only as well as the gradient deserves (tolerance ~ its largest part), which keeps quadratic
    convergence at a fraction of the products. The scores come back with mean 0; where there is no prior (precision
    0), with mean 0 on each island.

    Raises:
        NotConverged: the gradient does not vanish.
    """
    bets = tally.at(start)
    goal = max(_GRADIENT_TOLERANCE, _GRADIENT_ROUNDING * tally.busiest)
    height = bets.log_posterior(precision)
    items = tally.wiring.items
    for steps in range(_MAX_NEWTON_STEPS):
        gradient = bets.gradient(precision)
        largest = float(np.abs(gradient).max())
        if largest <= goal:
            state = bets.state
            centred = tally.wiring.centred(state[:items], by_island=precision == 0.0)
            return Mode(np.concatenate((centred, state[items:])), steps)
        tolerance = min(_LOOSEST_SOLVE, max(_TIGHTEST_SOLVE, largest))
        step = bets.information(precision).solve(gradient, tolerance=tolerance)
        bets, height = _uphill(tally, precision, bets, height, step)
    raise NotConverged(f"Newton left a gradient of {largest:.1e} after {_MAX_NEWTON_STEPS} steps")


def beyond_mode(tally: Tally, bets: Bets, information: Information) -> tuple[FloatArray, FloatArray]:
    """What leads from the mode to the mean of the posterior, to first order (Tierney & Kadane 1986).

    Shaped like the state; and with it the posterior sd of the difference of scores in each term, shape (t,), on which
    it rests. `bets` are those of the tally at the mode, `information` is theirs.
    """
    differences = information.difference_variances()[tally.terms.pair]
    variances = tally.gap_variances(differences, information)
    return information.solve(bets.skew(variances), tolerance=_MEAN_TOLERANCE), np.sqrt(differences)


def _uphill(
    tally: Tally, precision: float, bets: Bets, height: float, step: FloatArray
) -> tuple[Bets, float]:
    """Take the step, halved until it does not lose height (beyond rounding)."""
    slack = 1e-12 * (1.0 + abs(height))
    for _ in range(_MAX_HALVINGS):
        candidate = tally.at(bets.state + step)
        reached = candidate.log_posterior(precision)
        if reached >= height - slack:
            return candidate, reached
        step = step / 2.0
    raise NotConverged("no Newton step of any length raises the posterior")
