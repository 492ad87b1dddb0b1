"""What a judge's stated confidence is worth: levels, fitted by an ordinal link, used when they predict better.

Used as a plain weight, confidence harms when it is noise. So the levels of each judge are fitted (`Calibration`), and
count only when scores that rest on them foretell the winners of held-out pairs better than scores that do not.
"""

import math
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.calibration import Judges
from app.cj.statistics.normal import logistic
from app.cj.statistics.posterior import find_mode
from app.cj.statistics.tally import HURDLES, PLAIN, Tally, Terms
from app.cj.statistics.verdicts import Verdicts, pair_code

LEAST_GRADED = 200
"""Verdicts with confidence and a winner that a judge needs before its levels are fitted."""

FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceLevels:
    """How one judge's stated confidence is read.

    `bounds`: where stated confidence passes from one level to the next, ascending, shape (k - 1,) for k levels,
    at most five. `means`: what the judge saw on average in a verdict of each level, shape (k,), in the judge's
    own logits for the winner: slope * difference of scores + position + noise; empty when nothing was fitted. `used`: whether the scores rest on it; otherwise only
    on who won. `reason`: why it is used or not, in words for people. `gain`: out-of-fold log-loss saved per
    verdict, nats; NaN when not tried. `verdicts`: how many had a confidence and a winner.
    """

    bounds: FloatArray
    means: FloatArray
    used: bool
    reason: str
    gain: float
    verdicts: int


def level_bounds(confidence: FloatArray) -> FloatArray:
    """Cut what a judge stated into at most five levels, shape (levels - 1,).

    Up to five different values are five levels, as language models that choose among five words state them. Of
    more, a fifth of the verdicts falls into each: what figures a judge likes is its own affair.
    """
    values = np.unique(confidence)
    if len(values) <= HURDLES:
        return np.asarray((values[:-1] + values[1:]) / 2.0)
    cuts = np.unique(np.quantile(confidence, np.arange(1, HURDLES) / HURDLES))
    return np.asarray(cuts[cuts > values[0]])


def graded(verdicts: Verdicts) -> np.typing.NDArray[np.bool_]:
    """Which verdicts name a winner and a confidence."""
    return np.asarray(~np.isnan(verdicts.confidence) & np.isin(verdicts.outcome, (0.0, 1.0)), dtype=np.bool_)


def counted(levels: IntArray, verdicts: Verdicts, judges: int) -> FloatArray:
    """Verdicts per judge and level, shape (J, HURDLES)."""
    known = levels != PLAIN
    place = verdicts.judge[known] * HURDLES + levels[known]
    counts = np.bincount(place, minlength=judges * HURDLES).astype(np.float64)
    return counts.reshape(-1, HURDLES)


@dataclass(frozen=True, slots=True)
class Reading:
    """The confidence of the chosen judges as levels: per verdict `levels`, per judge `steps`."""

    levels: IntArray
    steps: IntArray

    @classmethod
    def of(cls, verdicts: Verdicts, judges: list[int]) -> "Reading":
        """Read the confidence of these judges, and of all others only who won."""
        levels, steps = np.full(len(verdicts), PLAIN), np.zeros(verdicts.judges, np.int64)
        stated = graded(verdicts)
        for judge in judges:
            mine = stated & (verdicts.judge == judge)
            bounds = level_bounds(verdicts.confidence[mine])
            levels[mine] = np.searchsorted(bounds, verdicts.confidence[mine], side="right")
            steps[judge] = len(bounds) + 1
        return cls(levels, steps)


def unread(reason: str, *, verdicts: int) -> ConfidenceLevels:
    """Of a judge of whom the winner alone counts, and why; `verdicts` of theirs had a confidence and a winner."""
    return ConfidenceLevels(
        np.zeros(0), np.zeros(0), used=False, reason=f"not used: {reason}", gain=math.nan, verdicts=verdicts
    )


def untried(verdicts: Verdicts, judge: int) -> ConfidenceLevels | None:
    """Why the levels of a judge cannot be fitted at all, or None."""
    stated = verdicts.confidence[graded(verdicts) & (verdicts.judge == judge)]
    if len(stated) < LEAST_GRADED:
        reason = f"{len(stated)} verdicts with a confidence and a winner, it takes {LEAST_GRADED}"
    elif not len(level_bounds(stated)):
        reason = "the judge always states the same confidence"
    else:
        return None
    return unread(reason, verdicts=len(stated))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model with its judges, and the state and sigma that fit all verdicts."""

    judges: Judges
    state: FloatArray
    sigma: float


@dataclass(frozen=True, slots=True)
class Trial:
    """Whether confidence foretells winners, by cross-validation over pairs.

    A fold takes every fifth pair, in the order of the pairs: all verdicts on a pair are in it, whatever they say and
    whenever they came, so that neither arrival nor chance has a part in the answer. The scores are fitted anew
    without the fold; sigma, slopes and the at most four hurdles of a judge are those of all verdicts.
    """

    verdicts: Verdicts
    items: int
    position: bool
    plain: Fitted
    informed: Fitted

    def gains(self, judge: int) -> FloatArray:
        """Log-loss saved by the levels of this judge on each of its held-out verdicts, nats."""
        verdicts, reading = self.verdicts, Reading.of(self.verdicts, [judge])
        fold = self._folds()
        judged = graded(verdicts) & (verdicts.judge == judge)
        saved = []
        for held in range(FOLDS):
            kept, asked = fold != held, verdicts.where((fold == held) & judged)
            without = self._losses(asked, self.plain, kept, Reading.of(verdicts, []))
            saved.append(without - self._losses(asked, self.informed, kept, reading))
        return np.concatenate(saved)

    def _folds(self) -> IntArray:
        first, second = self.verdicts.first, self.verdicts.second
        pair = pair_code(first, second, self.items)
        return np.asarray(np.unique(pair, return_inverse=True)[1] % FOLDS)

    def _losses(
        self, asked: Verdicts, model: Fitted, kept: np.typing.NDArray[np.bool_], reading: Reading
    ) -> FloatArray:
        """Minus the log of the chance that the kept verdicts gave to whoever won."""
        judges = model.judges
        terms = Terms.of(
            self.verdicts.where(kept),
            self.items,
            judges=len(judges.slopes),
            levels=reading.levels[kept],
            steps=reading.steps,
        )
        tally = Tally(terms, slopes=judges.slopes, hurdles=judges.hurdles, position=self.position)
        state = find_mode(tally, model.sigma**-2, model.state).state
        gap = judges.slopes[asked.judge] * (state[asked.first] - state[asked.second])
        if self.position:
            gap = gap + state[self.items :][asked.judge]
        return np.asarray(np.logaddexp(0.0, np.where(asked.outcome == 1.0, -gap, gap)))


def level_means(hurdles: FloatArray, levels: IntArray, towards: FloatArray) -> FloatArray:
    """Mean of what a judge saw per level: the difference and logistic noise, given that it lay in the level.

    `hurdles`, shape (k,), from 0; `levels` and `towards`, one per verdict: its level, and the expected difference in
    favour of whoever won. The mean of logistic noise between u and v is
    (v F(v) - log(1 + e^v) - u F(u) + log(1 + e^u)) / (F(v) - F(u)).
    """
    above = np.append(hurdles[1:], 40.0)  # beyond 40 logits nothing is left
    low, high = hurdles[levels] - towards, above[levels] - towards
    inside = np.maximum(logistic(high) - logistic(low), 1e-300)
    noise = (_moment(high) - _moment(low)) / inside
    seen = np.clip(towards + noise, hurdles[levels], above[levels])
    counts = np.bincount(levels, minlength=len(hurdles))
    return np.asarray(np.bincount(levels, seen, len(hurdles)) / np.maximum(counts, 1))


def _moment(x: FloatArray) -> FloatArray:
    return np.asarray(x * logistic(x) - np.logaddexp(0.0, x))
