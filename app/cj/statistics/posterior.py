"""The Bradley-Terry posterior of a set of verdicts, and its mode.

P(i beats j) = 1 / (1 + exp(theta_j - theta_i)) (Bradley & Terry 1952), theta_i ~ N(0, sigma^2), a tie is half
a win and half a loss. The prior keeps undefeated and disconnected items finite.
"""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, NotConverged
from app.cj.statistics.information import Information, Wiring

_MAX_NEWTON_STEPS = 100
_MAX_HALVINGS = 30
_GRADIENT_TOLERANCE = 1e-12
_GRADIENT_ROUNDING = 1e-14  # per verdict of the busiest item
_LOOSEST_SOLVE, _TIGHTEST_SOLVE = 0.1, 1e-6


@dataclass(frozen=True, slots=True)
class Tally:
    """Verdicts summed per pair: `count` and `surplus` = wins of the lower-numbered item minus count / 2.

    Sums over sorted pairs make the order of arrival disappear, and with the surplus every formula below is
    odd or even in the outcome, so that reversing all verdicts negates the scores to the last bit.
    """

    wiring: Wiring
    count: FloatArray
    surplus: FloatArray

    def log_posterior(self, scores: FloatArray, precision: float) -> float:
        """Log likelihood + log prior density, without the prior's normalising constant."""
        gaps = self._gaps(scores)
        apart = np.abs(gaps)
        against = self.count / 2.0 - self.surplus * np.sign(gaps)  # the verdicts that contradict the scores
        surprise = against @ apart + self.count @ np.log1p(np.exp(-apart))  # no term can cancel another
        return float(-surprise - precision / 2.0 * (scores @ scores))

    def gradient(self, scores: FloatArray, precision: float) -> FloatArray:
        """First derivative of `log_posterior`, shape (n,)."""
        wiring = self.wiring
        residual = self.surplus - self.count * np.tanh(self._gaps(scores) / 2.0) / 2.0
        won = np.bincount(wiring.low, residual, wiring.items) - np.bincount(
            wiring.high, residual, wiring.items
        )
        return np.asarray(won - precision * scores, dtype=np.float64)

    def information(self, scores: FloatArray, precision: float) -> Information:
        """Negative second derivative of `log_posterior`; a pair weighs count * p * (1 - p)."""
        odds = np.exp(-np.abs(self._gaps(scores)))
        return Information(self.wiring, self.count * odds / (1.0 + odds) ** 2, precision)

    def _gaps(self, scores: FloatArray) -> FloatArray:
        return scores[self.wiring.low] - scores[self.wiring.high]


@dataclass(frozen=True, slots=True)
class Mode:
    """Where the posterior is highest, and the Newton steps it took to get there."""

    scores: FloatArray
    steps: int


def find_mode(tally: Tally, precision: float, start: FloatArray) -> Mode:
    """Damped Newton from `start`; the posterior is strictly concave, so there is one mode.

    Each step is solved only as well as the gradient deserves (tolerance ~ its largest part), which keeps quadratic
    convergence at a fraction of the products.

    Raises:
        NotConverged: the gradient does not vanish.
    """
    scores = start
    verdicts = float(tally.wiring.per_item(tally.count).max(initial=0.0))
    goal = max(_GRADIENT_TOLERANCE, _GRADIENT_ROUNDING * verdicts)
    height = tally.log_posterior(scores, precision)
    for steps in range(_MAX_NEWTON_STEPS):
        gradient = tally.gradient(scores, precision)
        if float(np.abs(gradient).max()) <= goal:
            return Mode(scores - scores.mean(), steps)
        tolerance = min(_LOOSEST_SOLVE, max(_TIGHTEST_SOLVE, float(np.abs(gradient).max())))
        step = tally.information(scores, precision).solve(gradient, tolerance=tolerance)
        scores, height = _uphill(tally, precision, scores, height, step)
    raise NotConverged(
        f"Newton left a gradient of {np.abs(gradient).max():.1e} after {_MAX_NEWTON_STEPS} steps"
    )


def _uphill(
    tally: Tally, precision: float, scores: FloatArray, height: float, step: FloatArray
) -> tuple[FloatArray, float]:
    """Take the step, halved until it does not lose height (beyond rounding)."""
    slack = 1e-12 * (1.0 + abs(height))
    for _ in range(_MAX_HALVINGS):
        candidate = scores + step
        reached = tally.log_posterior(candidate, precision)
        if reached >= height - slack:
            return candidate, reached
        step = step / 2.0
    raise NotConverged("no Newton step of any length raises the posterior")
