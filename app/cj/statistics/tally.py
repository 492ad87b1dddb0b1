"""Verdicts summed into the terms of the likelihood.

A term is a bet at even stakes on a hurdle: did the lower-numbered item clear it? Without confidence there is one
hurdle, at 0, and the bet is the verdict. A verdict with confidence says that the difference which the judge
saw, the true one and logistic noise, lies between two hurdles of that judge: it cleared the one below and not
the one above. For the logistic distribution F the chance of that is

    F(b - x) - F(a - x) = F(b - x) F(x - a) (1 - exp(a - b)),

one bet won and one lost, so the cumulative link for ordered categories (Agresti 1992) needs no formula that a
plain verdict does not need.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.information import Information, Wiring
from app.cj.statistics.verdicts import Verdicts, pair_code, refuse_strangers

HURDLES = 5
"""Hurdles of a judge with five levels, that at 0 included."""

PLAIN = -1
"""The level of a verdict of which only the winner counts."""

_ORDER = {0: 0, 1: 1, -1: 2}  # blocks of terms by the sign of their hurdle


@dataclass(frozen=True, slots=True)
class Terms:
    """Equal bets summed: `count` and `surplus` = won by the lower-numbered item minus count / 2, shape (t,).

    `pair` is the place in `wiring`, `side` +1 where the lower-numbered item was shown first and -1 where it was
    second, `hurdle` 0..4 with `sign`. Sums over sorted terms make the order of arrival disappear. Reversing all
    verdicts exchanges the blocks of the two signs, swapping the sides of all exchanges those of the two sides;
    `blocks` is cut so that both come down to exchanging two sides of one addition, and change no bit.
    """

    wiring: Wiring
    judges: int
    pair: IntArray
    judge: IntArray
    side: FloatArray
    hurdle: IntArray
    sign: FloatArray
    count: FloatArray
    surplus: FloatArray
    blocks: tuple[tuple[slice, ...], ...]

    @classmethod
    def of(
        cls,
        verdicts: Verdicts,
        items: int,
        *,
        judges: int,
        levels: IntArray | None = None,
        steps: IntArray | None = None,
    ) -> Self:
        """Sum the verdicts; `levels` gives the level of each verdict's confidence from below, or `PLAIN`.

        `steps`, shape (J,), says how many levels each judge has.

        Raises:
            ValueError: no items, or an item number out of range.
        """
        refuse_strangers(verdicts, items)
        pair = pair_code(verdicts.first, verdicts.second, items)
        low_first = verdicts.first < verdicts.second
        surplus = np.where(low_first, 1.0, -1.0) * (verdicts.outcome - 0.5)
        place = pair * judges + verdicts.judge
        if levels is None or steps is None or (levels == PLAIN).all():
            return cls._summed(items, judges, (place, low_first, np.zeros_like(place), surplus))
        won = np.sign(surplus).astype(np.int64)
        cleared = np.where(levels == PLAIN, 0, won * levels)
        above = (levels != PLAIN) & (
            levels + 1 < steps[verdicts.judge]
        )  # nothing lies above the highest level
        both = (
            np.concatenate((place, place[above])),
            np.concatenate((low_first, low_first[above])),
            np.concatenate((cleared, (won * (levels + 1))[above])),
            np.concatenate((surplus, -surplus[above])),
        )
        return cls._summed(items, judges, both)

    @classmethod
    def _summed(
        cls, items: int, judges: int, bets: tuple[IntArray, np.typing.NDArray[np.bool_], IntArray, FloatArray]
    ) -> Self:
        place, low_first, hurdle, surplus = bets
        block = np.array([_ORDER[0], _ORDER[1], _ORDER[-1]])[np.sign(hurdle)] * 2 + ~low_first
        places = items * items * judges
        keys, inverse = np.unique((block * places + place) * HURDLES + np.abs(hurdle), return_inverse=True)
        block, place = np.divmod(keys // HURDLES, places)
        pairs, pair = np.unique(place // judges, return_inverse=True)
        cuts = np.searchsorted(block, np.arange(7)).tolist()
        slices = [slice(*cut) for cut in pairwise(cuts)]
        return cls(
            wiring=Wiring(items, pairs // items, pairs % items),
            judges=judges,
            pair=pair,
            judge=place % judges,
            side=1.0 - 2.0 * (block % 2),
            hurdle=keys % HURDLES,
            sign=np.array([0.0, 1.0, -1.0])[block // 2],
            count=np.bincount(inverse, minlength=len(keys)).astype(np.float64),
            surplus=np.bincount(inverse, surplus, len(keys)).astype(np.float64),
            blocks=tuple(tuple(slices[k : k + 2]) for k in (0, 2, 4) if k == 0 or cuts[2] < cuts[6]),
        )

    def summed(self, values: FloatArray, index: IntArray, length: int) -> FloatArray:
        """Sum `values`, one per term, by `index`, shape (length,); exact under reversal, see the class."""
        halves = [
            np.bincount(index[one], values[one], length) + np.bincount(index[other], values[other], length)
            for one, other in self.blocks
        ]
        return np.asarray(halves[0] if len(halves) == 1 else halves[0] + (halves[1] + halves[2]))

    def total(self, values: FloatArray) -> float:
        """Sum `values`, one per term, exact in the same way."""
        halves = [float(values[one].sum()) + float(values[other].sum()) for one, other in self.blocks]
        return halves[0] if len(halves) == 1 else halves[0] + (halves[1] + halves[2])


class Tally:
    """The log posterior of a state: the n scores and, with a position term, the J advantages of being first.

    Of a bet between scores x and y, judged by a judge of slope s with the advantage b for the first (side +-1),
    at a hurdle c, the gap is s (x - y) +- b - c, and the chance to win it F(gap) (Bradley & Terry 1952; position as
    in Davidson & Beaver 1977). Priors: scores N(0, 1 / precision), positions N(0, 1); precision 0 means none at
    all, for maximum likelihood.
    """

    def __init__(self, terms: Terms, *, slopes: FloatArray, hurdles: FloatArray, position: bool) -> None:
        """`slopes` per judge, shape (J,); `hurdles` per judge, shape (J, HURDLES), the first 0."""
        self.terms = terms
        self.wiring = terms.wiring
        self.slopes = slopes
        self.hurdles = hurdles
        self.positions = terms.judges if position else 0
        self.slope = slopes[terms.judge]
        self._offset = terms.sign * hurdles[terms.judge, terms.hurdle]

    def blank(self) -> FloatArray:
        """The state that knows nothing."""
        return np.zeros(self.wiring.items + self.positions)

    def at(self, state: FloatArray, shift: FloatArray | float = 0.0) -> Bets:
        """The bets as they stand at a state, with every difference of scores shifted."""
        gaps = self.slope * (self.differences(state) + shift) - self._offset
        if self.positions:
            gaps += self.terms.side * state[self.wiring.items :][self.terms.judge]
        return Bets(self, state, gaps)

    def differences(self, state: FloatArray) -> FloatArray:
        """Score of the lower-numbered item minus that of the other, per bet."""
        return np.asarray((state[self.wiring.low] - state[self.wiring.high])[self.terms.pair])

    def gap_variances(self, differences: FloatArray, information: Information) -> FloatArray:
        """Posterior variance of every gap, shape (t,), from that of its difference of scores, the positions included."""
        terms, wiring = self.terms, self.wiring
        found = self.slope**2 * differences
        if self.positions:
            with_scores, alone = information.position_covariances()
            low, high = wiring.low[terms.pair], wiring.high[terms.pair]
            shared = with_scores[low, terms.judge] - with_scores[high, terms.judge]
            found = found + 2.0 * self.slope * terms.side * shared + alone[terms.judge]
        return np.asarray(np.maximum(found, 0.0))

    @cached_property
    def busiest(self) -> float:
        """The bets on the judge with the most of them, or without position terms on the item: what rounds a gradient.

        A part of a gradient is a sum over the bets of one judge or item, and is rounded in proportion to their number.
        """
        per_pair = self.terms.summed(self.terms.count, self.terms.pair, len(self.wiring.low))
        if self.positions:
            return float(self.terms.summed(self.terms.count, self.terms.judge, self.terms.judges).max())
        return float(self.wiring.per_item(per_pair).max(initial=0.0))


class Bets:
    """The bets of a tally at one state; what they have in common is computed once.

    `gaps`, shape (t,), in logits.
    """

    def __init__(self, tally: Tally, state: FloatArray, gaps: FloatArray) -> None:
        self.state = state
        self._tally = tally
        self._gaps = gaps
        self._apart = np.abs(gaps)
        self._odds = np.exp(-self._apart)

    def log_posterior(self, precision: float) -> float:
        """Log likelihood + log prior density, without the parts that the state does not change."""
        scores, positions = self._parts
        doubt = precision * float(scores @ scores) + (float(positions @ positions) if precision else 0.0)
        return self.log_likelihood() - doubt / 2.0

    def log_likelihood(self) -> float:
        """Without the constants of the hurdles."""
        terms = self._tally.terms
        # the bets that contradict the scores; no term can cancel another
        against = terms.count / 2.0 - terms.surplus * np.sign(self._gaps)
        return -terms.total(against * self._apart + terms.count * np.log1p(self._odds))

    def gradient(self, precision: float) -> FloatArray:
        """First derivative of `log_posterior`."""
        gradient, items = self._by_parameter(self.residuals), self._tally.wiring.items
        scores, positions = self._parts
        gradient[:items] -= precision * scores
        if precision:
            gradient[items:] -= positions
        return gradient

    def information(self, precision: float) -> Information:
        """Negative second derivative of `log_posterior`; a bet weighs p * (1 - p)."""
        tally, weights = self._tally, self.weights
        wiring, terms, slope = tally.wiring, tally.terms, tally.slope
        per_pair = terms.summed(slope**2 * weights, terms.pair, len(wiring.low))
        if not tally.positions:
            return Information(wiring, per_pair, precision)
        judges, leaning = terms.judges, slope * terms.side * weights
        border = np.zeros(wiring.items * judges)
        per_edge = terms.summed(leaning, terms.pair * judges + terms.judge, len(wiring.low) * judges)
        for ends, sign in ((wiring.low, 1.0), (wiring.high, -1.0)):
            at = (ends[:, None] * judges + np.arange(judges)).ravel()
            border += sign * np.bincount(at, per_edge, len(border))
        corner = terms.summed(weights, terms.judge, judges) + (precision > 0.0)
        return Information(wiring, per_pair, precision, border.reshape(-1, judges), corner)

    def skew(self, variances: FloatArray) -> FloatArray:
        """How much steeper the posterior falls on one side of the mode than on the other.

        Half the third derivative of the log likelihood, contracted with the posterior variance of each bet's gap,
        shape (t,). Solved by the information it is the way from the mode to the mean of the posterior (Tierney &
        Kadane 1986).
        """
        third = self.weights * np.copysign(1.0 - 2.0 * self._upset, self._gaps)
        return self._by_parameter(third * variances / 2.0)

    @cached_property
    def residuals(self) -> FloatArray:
        """Bets won by the lower-numbered item beyond what its chances promise, shape (t,)."""
        terms = self._tally.terms
        return np.asarray(terms.surplus - terms.count * np.copysign(0.5 - self._upset, self._gaps))

    @cached_property
    def weights(self) -> FloatArray:
        """Count * p * (1 - p) of every bet, shape (t,)."""
        return np.asarray(self._tally.terms.count * self._upset * (1.0 - self._upset))

    @cached_property
    def _upset(self) -> FloatArray:
        """The chance of the less likely end of every bet."""
        return np.asarray(self._odds / (1.0 + self._odds))

    @property
    def _parts(self) -> tuple[FloatArray, FloatArray]:
        items = self._tally.wiring.items
        return self.state[:items], self.state[items:]

    def _by_parameter(self, per_term: FloatArray) -> FloatArray:
        """Sum what each bet says about its gap over scores and positions."""
        tally = self._tally
        wiring, terms = tally.wiring, tally.terms
        per_pair = terms.summed(tally.slope * per_term, terms.pair, len(wiring.low))
        won = np.bincount(wiring.low, per_pair, wiring.items) - np.bincount(
            wiring.high, per_pair, wiring.items
        )
        if tally.positions:
            won = np.concatenate((won, terms.summed(terms.side * per_term, terms.judge, terms.judges)))
        return np.asarray(won, dtype=np.float64)
