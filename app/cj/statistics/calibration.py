"""What the judges are like: how sharp each is, and where the levels of its confidence begin.

Found by expectation and maximisation (Dempster, Laird & Rubin 1977): slopes, hurdles and sigma are likeliest for the
scores averaged over their posterior, a Gaussian around its mean, not at its mode. At the mode the sharper of two judges would be made ever
sharper, since that lets all scores shrink towards the prior at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from app.cj.statistics import FloatArray, IntArray, NotConverged
from app.cj.statistics.posterior import beyond_mode, find_mode
from app.cj.statistics.spread import likely_spread
from app.cj.statistics.tally import HURDLES, Tally, Terms

SLOPE_SD = 1.0
"""Prior sd of a log slope: weak, a judge three times as sharp as another is nothing special."""

_NODES, _SHARES = np.polynomial.hermite_e.hermegauss(5)
_SHARES = _SHARES / _SHARES.sum()
_FIRST_HURDLES = 0.8 * np.arange(HURDLES)
_SETTLED = 1e-7
_MAX_ROUNDS = 400
_REMEMBERED = 4  # rounds, and the newest
_LONGER = 2.0
_WIDEST_LEAP = 2.0  # of any logarithm
_MAX_HALVINGS = 40
_LONGEST_STEP = 0.5  # of a log slope, and the share of the way to the next hurdle


@dataclass(frozen=True, slots=True)
class Judges:
    """`slopes`, shape (J,), geometric mean 1; `hurdles`, shape (J, HURDLES), ascending from 0 in logits.

    `steps`, shape (J,): levels of confidence of each judge, 0 where only the winner counts.
    """

    slopes: FloatArray
    hurdles: FloatArray
    steps: IntArray

    @classmethod
    def alike(cls, judges: int) -> Self:
        """All equally sharp, confidence not used."""
        return cls(np.ones(judges), np.zeros((judges, HURDLES)), np.zeros(judges, np.int64))

    def graded(self, steps: IntArray) -> Self:
        """The same judges before the levels of their confidence are fitted."""
        hurdles = np.where(np.arange(HURDLES) < steps[:, None], _FIRST_HURDLES, 0.0)
        return replace(self, hurdles=hurdles, steps=steps)


@dataclass(frozen=True, slots=True)
class Expected:
    """Sums over the terms, averaged over the scores' posterior by Gauss-Hermite quadrature."""

    tally: Tally
    state: FloatArray
    difference_sd: FloatArray  # posterior sd of the difference of scores in each term

    def height(self) -> float:
        """Log likelihood."""
        return float(
            self._averaged(lambda shift: np.array(self.tally.at(self.state, shift).log_likelihood()))
        )

    def of_slopes(self) -> tuple[FloatArray, FloatArray]:
        """First derivative by each log slope, and the information about it."""
        terms, tally = self.tally.terms, self.tally
        slope, apart = tally.slopes[terms.judge], tally.differences(self.state)
        pull = self._averaged(lambda shift: tally.at(self.state, shift).residuals * slope * (apart + shift))
        bend = self._averaged(
            lambda shift: tally.at(self.state, shift).weights * (slope * (apart + shift)) ** 2
        )
        return terms.summed(pull, terms.judge, terms.judges), terms.summed(bend, terms.judge, terms.judges)

    def of_hurdles(self) -> tuple[FloatArray, FloatArray]:
        """First derivative by each hurdle, and the information about it, shape (J, HURDLES)."""
        terms, tally = self.tally.terms, self.tally
        pull = self._averaged(lambda shift: -terms.sign * tally.at(self.state, shift).residuals)
        bend = self._averaged(lambda shift: tally.at(self.state, shift).weights)
        place, shape = terms.judge * HURDLES + terms.hurdle, (terms.judges, HURDLES)
        length = terms.judges * HURDLES
        return terms.summed(pull, place, length).reshape(shape), terms.summed(bend, place, length).reshape(
            shape
        )

    def _averaged(self, figure: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Mean over the posterior; nodes of the two signs meet in one addition, so that reversal is exact."""
        lowest, low, middle, high, highest = (
            share * figure(node * self.difference_sd) for node, share in zip(_NODES, _SHARES, strict=True)
        )
        return np.asarray(middle + (low + high) + (lowest + highest))


def price_of_slopes(tally: Tally, state: FloatArray, sigma: float) -> float:
    """Log of what their prior takes away from the evidence for slopes that were chosen to fit (Laplace), positive.

    With J judges it is, in the J - 1 directions in which the log slopes sum to 0,

    sum_j log^2(slope_j) / (2 SLOPE_SD^2) + (J - 1) log SLOPE_SD + log det(D) / 2,

    where D is the diagonal of their information, prior included, and its determinant in those directions is
    prod_j D_j * sum_j (1 / D_j) / J (MacKay 1992b, "Bayesian interpolation": the Occam factor). The scores are held, so
    that the information, and with it the price, is rather too large.
    """
    bets = tally.at(state)
    beyond, difference_sd = beyond_mode(tally, bets, bets.information(sigma**-2))
    _, bend = Expected(tally, state + beyond, difference_sd).of_slopes()
    told = bend + SLOPE_SD**-2
    logs, judges = np.log(tally.slopes), len(tally.slopes)
    determinant = float(np.log(told).sum() + math.log(float((1.0 / told).sum()) / judges))
    prior = float((logs**2).sum()) / (2.0 * SLOPE_SD**2) + (judges - 1) * math.log(SLOPE_SD)
    return prior + determinant / 2.0


@dataclass(slots=True)
class Calibration:
    """Fits judges and sigma together.

    `counts`, shape (J, HURDLES): verdicts per judge and level. The priors are log slope ~ N(0, SLOPE_SD^2) and, for
    the distance of two hurdles, Gamma(2, 1), which weighs as much as one verdict and keeps an empty level open.
    A `given` sigma stays.
    """

    terms: Terms
    counts: FloatArray
    given: float | None
    position: bool
    sharpening: bool
    steps: int = 0

    def climb(self, judges: Judges, state: FloatArray, sigma: float) -> tuple[Judges, FloatArray, float]:
        """From here to where a round moves nothing any more.

        Rounds become ever shorter and point the same way, so the next place is extrapolated from the last few
        (Anderson 1965; Walker & Ni 2011). Where a round after that is longer than the shortest so far, what the
        extrapolation rests on is forgotten.

        Raises:
            NotConverged: it still moves after many rounds, or every step makes it less likely.
        """
        seen: list[tuple[FloatArray, FloatArray]] = []  # (where a round ended, how far it went)
        shortest = math.inf
        here = _packed(judges, sigma)
        for _ in range(_MAX_ROUNDS):
            judges, state, sigma = self._round(judges, state, sigma)
            there = _packed(judges, sigma)
            length = float(np.abs(there - here).max())
            if length <= _SETTLED:
                return judges, state, sigma
            if length > _LONGER * shortest:
                seen.clear()
            shortest = min(shortest, length)
            seen = [*seen[-_REMEMBERED:], (there, there - here)]
            here = _extrapolated(seen)
            if float(np.abs(here - there).max()) > _WIDEST_LEAP:
                here = there
            judges, sigma = _unpacked(here, judges, sigma)
        raise NotConverged(f"slopes and confidence levels still moved after {_MAX_ROUNDS} rounds")

    def _round(self, judges: Judges, state: FloatArray, sigma: float) -> tuple[Judges, FloatArray, float]:
        """Scores given all else, then sigma, slopes and hurdles given the scores' posterior."""
        tally = self._tally(judges)
        found = find_mode(tally, sigma**-2, state)
        state, self.steps = found.state, self.steps + found.steps
        bets = tally.at(state)
        information = bets.information(sigma**-2)
        beyond, difference_sd = beyond_mode(tally, bets, information)
        if self.given is None:
            scores, further = state[: tally.wiring.items], beyond[: tally.wiring.items]
            unknown = float(information.rough_variances().sum())
            sigma = likely_spread(float(scores @ scores + 2.0 * scores @ further) + unknown, len(scores))
        if self.sharpening:
            judges = self._sharpened(judges, state + beyond, difference_sd)
        for judge in np.flatnonzero(judges.steps).tolist():
            judges = self._shifted(judges, state + beyond, difference_sd, judge)
        return judges, state, sigma

    def _tally(self, judges: Judges) -> Tally:
        return Tally(self.terms, slopes=judges.slopes, hurdles=judges.hurdles, position=self.position)

    def _height(self, judges: Judges, state: FloatArray, difference_sd: FloatArray) -> float:
        """The penalised expected log likelihood, which no turn may lower.

        But for constants it is

        E[log L] - sum_j log^2(slope_j) / (2 SLOPE_SD^2)
            + sum_jk (n_jk log(1 - exp(-d_jk)) + log d_jk - d_jk),

        where E is taken over the scores' posterior, L is the likelihood of all bets at their hurdles (`Tally`),
        d_jk the distance from hurdle k of judge j to the next one, n_jk the verdicts in the level between the
        two: log(1 - exp(-d)) is what `Tally` leaves out, log d - d the prior Gamma(2, 1).
        """
        height = Expected(self._tally(judges), state, difference_sd).height()
        height -= float((np.log(judges.slopes) ** 2).sum()) / (2.0 * SLOPE_SD**2)
        for judge in np.flatnonzero(judges.steps).tolist():
            apart = np.diff(judges.hurdles[judge, : judges.steps[judge]])
            between = self.counts[judge, : len(apart)] @ np.log(-np.expm1(-apart))
            height += float(between + (np.log(apart) - apart).sum())
        return height

    def _sharpened(self, judges: Judges, state: FloatArray, difference_sd: FloatArray) -> Judges:
        """One step of Fisher scoring in the log slopes under the constraint that they sum to 0."""
        logs = np.log(judges.slopes)
        pull, bend = Expected(self._tally(judges), state, difference_sd).of_slopes()
        pull, bend = pull - logs / SLOPE_SD**2, bend + 1.0 / SLOPE_SD**2
        heard = self.terms.summed(self.terms.count, self.terms.judge, len(logs)) > 0.0
        free = heard / bend  # who never judged stays as sharp as the average
        step = (pull - (pull * free).sum() / free.sum()) * free
        step *= min(1.0, _LONGEST_STEP / max(float(np.abs(step).max()), _SETTLED))
        return self._higher(
            judges, state, difference_sd, lambda share: replace(judges, slopes=np.exp(logs + share * step))
        )

    def _shifted(self, judges: Judges, state: FloatArray, difference_sd: FloatArray, judge: int) -> Judges:
        """One Newton step in the hurdles of one judge, in which the likelihood is concave."""
        steps = int(judges.steps[judge])
        pulls, bends = Expected(self._tally(judges), state, difference_sd).of_hurdles()
        apart = np.diff(judges.hurdles[judge, :steps])
        between = self.counts[judge, : len(apart)]
        stretch = between / np.expm1(apart) + 1.0 / apart - 1.0
        tension = between * np.exp(apart) / np.expm1(apart) ** 2 + 1.0 / apart**2
        gaps = np.eye(steps - 1) - np.eye(steps - 1, k=-1)  # apart = gaps @ hurdles, the first of which is 0
        step = np.zeros(HURDLES)
        step[1:steps] = np.linalg.solve(
            np.diag(bends[judge, 1:steps]) + gaps.T @ (tension[:, None] * gaps),
            pulls[judge, 1:steps] + gaps.T @ stretch,
        )
        narrowing = float((-np.diff(step[:steps]) / apart).max())
        step *= min(1.0, _LONGEST_STEP / narrowing) if narrowing > 0.0 else 1.0
        row = (np.arange(len(judges.slopes)) == judge)[:, None] * step
        return self._higher(
            judges, state, difference_sd, lambda share: replace(judges, hurdles=judges.hurdles + share * row)
        )

    def _higher(
        self, judges: Judges, state: FloatArray, difference_sd: FloatArray, moved: Callable[[float], Judges]
    ) -> Judges:
        """The whole step, or the first half, quarter... of it that does not lose height (beyond rounding).

        Every step points uphill, so one of these must do, be it too short to be seen. Where none does, the figures
        are broken, and standing still would pass for having arrived.

        Raises:
            NotConverged: none does.
        """
        height = self._height(judges, state, difference_sd)
        slack, share = 1e-12 * (1.0 + abs(height)), 1.0
        for _ in range(_MAX_HALVINGS):
            candidate = moved(share)
            if self._height(candidate, state, difference_sd) >= height - slack:
                return candidate
            share /= 2.0
        raise NotConverged("no step of any length makes slopes or confidence levels likelier")


def _extrapolated(seen: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Where the newest round ended, corrected by the combination of rounds whose steps cancel best."""
    ends, steps = (np.array(some) for some in zip(*seen, strict=True))
    if len(seen) == 1:
        return np.asarray(ends[-1])
    share = np.linalg.lstsq(np.diff(steps, axis=0).T, steps[-1], rcond=1e-8)[0]
    return np.asarray(ends[-1] - np.diff(ends, axis=0).T @ share)


def _packed(judges: Judges, sigma: float) -> FloatArray:
    """All that a climb moves, on scales without bounds."""
    apart = [np.diff(row[:steps]) for row, steps in zip(judges.hurdles, judges.steps.tolist(), strict=True)]
    of_sigma = [math.log(sigma)] if sigma < math.inf else []
    return np.concatenate((np.log(judges.slopes), *(np.log(gaps) for gaps in apart), of_sigma))


def _unpacked(point: FloatArray, judges: Judges, sigma: float) -> tuple[Judges, float]:
    """What `_packed` packed; `judges` says which judges have hurdles."""
    count = len(judges.slopes)
    slopes, hurdles, at = np.exp(point[:count]), judges.hurdles.copy(), count
    for judge in np.flatnonzero(judges.steps).tolist():
        further = int(judges.steps[judge]) - 1
        hurdles[judge, 1 : further + 1] = np.cumsum(np.exp(point[at : at + further]))
        at += further
    return replace(judges, slopes=slopes, hurdles=hurdles), sigma if at == len(point) else math.exp(point[at])
