"""The mode of the posterior: where scores and positions are likeliest.

A tie is half a win and half a loss. The prior keeps undefeated and disconnected items finite.
"""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, NotConverged
from app.cj.statistics.tally import Tally

_MAX_NEWTON_STEPS = 100
_MAX_HALVINGS = 30
_GRADIENT_TOLERANCE = 1e-12
_GRADIENT_ROUNDING = 1e-14  # per bet on the busiest item
_LOOSEST_SOLVE, _TIGHTEST_SOLVE = 0.1, 1e-6


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
    state = start
    goal = max(_GRADIENT_TOLERANCE, _GRADIENT_ROUNDING * tally.busiest)
    height = tally.log_posterior(state, precision)
    items = tally.wiring.items
    for steps in range(_MAX_NEWTON_STEPS):
        gradient = tally.gradient(state, precision)
        largest = float(np.abs(gradient).max())
        if largest <= goal:
            centred = tally.wiring.centred(state[:items], by_island=precision == 0.0)
            return Mode(np.concatenate((centred, state[items:])), steps)
        tolerance = min(_LOOSEST_SOLVE, max(_TIGHTEST_SOLVE, largest))
        step = tally.information(state, precision).solve(gradient, tolerance=tolerance)
        state, height = _uphill(tally, precision, state, height, step)
    raise NotConverged(f"Newton left a gradient of {largest:.1e} after {_MAX_NEWTON_STEPS} steps")


def _uphill(
    tally: Tally, precision: float, state: FloatArray, height: float, step: FloatArray
) -> tuple[FloatArray, float]:
    """Take the step, halved until it does not lose height (beyond rounding)."""
    slack = 1e-12 * (1.0 + abs(height))
    for _ in range(_MAX_HALVINGS):
        candidate = state + step
        reached = tally.log_posterior(candidate, precision)
        if reached >= height - slack:
            return candidate, reached
        step = step / 2.0
    raise NotConverged("no Newton step of any length raises the posterior")
