"""How far the true scores lie apart: the prior sd sigma by empirical Bayes.

The evidence for a sigma is the marginal likelihood of the verdicts in Laplace's approximation, log p(verdicts |
mode) + log p(mode | sigma) - log det(H) / 2. It is read on a fixed grid of log sigma and refined by a parabola
through the best three points. The grid does not depend on where the search begins, so a warm start and a cold
one end at the same sigma.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from app.cj.statistics import FloatArray, NotConverged
from app.cj.statistics.posterior import find_mode
from app.cj.statistics.tally import Tally

TYPICAL_SIGMA = 1.3
_HYPERPRIOR_SD = 0.6  # of log sigma: weak, it decides only when the verdicts do not
_GRID = 0.05  # of log sigma; place 0 is the typical sigma
_LOWEST_PLACE = -60  # sigma 0.065: nobody can be told apart
_WIDEST_JUMP = 16
_MAX_CLIMBS = 200
_MAX_NEWTON_STEPS = 50
_SETTLED = 1e-13  # of log sigma: Newton's next step would be beyond what floats hold
_FLAT = 1e-9  # differences of evidence below this are rounding


@dataclass(slots=True)
class SpreadSearch:
    """The evidence seen so far and the last mode, from which the next one starts."""

    tally: Tally
    state: FloatArray
    steps: int = 0
    _evidence: dict[int, float] = field(default_factory=dict)

    def mode(self, sigma: float) -> FloatArray:
        """Scores and positions at the posterior mode for this sigma."""
        found = find_mode(self.tally, sigma**-2, self.state)
        self.state = found.state
        self.steps += found.steps
        return found.state

    def likely_sigma(self, *, near: float) -> float:
        """The sigma for scores and standard errors, with hyperprior log sigma ~ N(log 1.3, 0.6^2)."""
        return _sigma_at(_peak(lambda place: self._at(place) - _doubt(place), near=_place_of(near)))

    def proven_sigma(self, *, likely: float) -> float:
        """The sigma for the reliability: below 1.3 the verdicts speak without the hyperprior.

        A judge who tosses coins shows no spread at all. With the hyperprior 30 essays at 12 verdicts each
        would still be given a reliability of .43, without it .14; for real judges the two hardly differ.
        """
        if likely >= TYPICAL_SIGMA:
            return likely
        return _sigma_at(
            _peak(lambda place: self._at(place) - _doubt(max(place, 0.0)), near=_place_of(likely))
        )

    def evidence(self, sigma: float) -> float:
        """Log of the marginal likelihood of the verdicts at this sigma, but for a constant (Laplace)."""
        bets = self.tally.at(self.mode(sigma))
        height = bets.log_posterior(sigma**-2) - self.tally.wiring.items * math.log(sigma)
        return height - bets.information(sigma**-2).log_determinant() / 2.0

    def _at(self, place: int) -> float:
        if place not in self._evidence:
            self._evidence[place] = self.evidence(_sigma_at(place))
        return self._evidence[place]


def likely_spread(squares: float, items: int) -> float:
    """The sigma that maximises the expected log density of the scores, whose squares sum to `squares`.

    Solves squares / sigma^2 = items + (log sigma - log 1.3) / 0.6^2 by Newton in log sigma.

    Raises:
        NotConverged: sigma still moves after many steps.
    """
    log_sigma = math.log(max(squares / items, 1e-12)) / 2.0
    for _ in range(_MAX_NEWTON_STEPS):
        expected = squares * math.exp(-2.0 * log_sigma)
        pull = expected - items - (log_sigma - math.log(TYPICAL_SIGMA)) / _HYPERPRIOR_SD**2
        step = pull / (2.0 * expected + _HYPERPRIOR_SD**-2)
        log_sigma += step
        if abs(step) <= _SETTLED:
            return math.exp(log_sigma)
    raise NotConverged(f"sigma still moved after {_MAX_NEWTON_STEPS} steps")


def _sigma_at(place: float) -> float:
    return TYPICAL_SIGMA * math.exp(place * _GRID)


def _place_of(sigma: float) -> int:
    return round(math.log(sigma / TYPICAL_SIGMA) / _GRID)


def doubted(sigma: float) -> float:
    """What the hyperprior takes away from the evidence for this sigma."""
    return (math.log(sigma / TYPICAL_SIGMA) / _HYPERPRIOR_SD) ** 2 / 2.0


def _doubt(place: float) -> float:
    return (place * _GRID / _HYPERPRIOR_SD) ** 2 / 2.0


def _peak(height: Callable[[int], float], *, near: int) -> float:
    """Climb by parabolas to the highest place; each change of direction halves the longest jump."""
    place, reach, heading = near, _WIDEST_JUMP, 0.0
    for _ in range(_MAX_CLIMBS):
        place = max(place, _LOWEST_PLACE)
        left, here, right = height(place - 1), height(place), height(place + 1)
        slope, bend = (right - left) / 2.0, left - 2.0 * here + right
        if place == _LOWEST_PLACE and left >= here:
            return place
        if here >= max(left, right) - _FLAT:
            return place + (max(-0.5, min(0.5, -slope / bend)) if bend < -_FLAT else 0.0)
        if heading * slope < 0.0:
            reach = max(1, reach // 2)
        wanted = round(abs(slope / bend)) if bend < 0.0 else reach
        place, heading = place + int(math.copysign(min(max(wanted, 1), reach), slope)), slope
    raise NotConverged(f"no best sigma within {_MAX_CLIMBS} climbs")
