"""Judges who know the true scores and err as the Bradley-Terry model says, with the faults that judges have."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.verdicts import Verdicts

MOST_ITEMS = 2000
"""Noise fixed by the pair is kept as one matrix a judge."""

LEVELS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
_CALIBRATION_PAIRS = 4000


class Confidence(StrEnum):
    """What a judge says of its own certainty."""

    NONE = "none"
    GRADED = "graded"
    NOISE = "noise"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeProfile:
    """How a judge errs. It sees x = sharpness * (theta_a - theta_b) + bias + e, e standard logistic; A wins when x > 0.

    `sharpness`: 1 is the unit of the scores, 0 a coin. `bias`: logits towards whoever is shown first. `pair_noise`:
    share of the calls in which e belongs to the pair and comes again whenever it is asked (mirrored when the sides
    are swapped), as with a language model at temperature 0; in the others it is drawn anew. `confidence`: none;
    graded: five levels by the quintiles of abs(x) without the bias; noise: five levels by lot.
    """

    sharpness: float = 1.0
    bias: float = 0.0
    pair_noise: float = 0.0
    confidence: Confidence = Confidence.NONE


class Panel:
    """Judges at work on one set of items."""

    def __init__(self, truth: FloatArray, judges: Sequence[JudgeProfile], rng: np.random.Generator) -> None:
        if not 1 < len(truth) <= MOST_ITEMS:
            raise ValueError(f"a rehearsal takes 2 to {MOST_ITEMS} items, not {len(truth)}")
        if not judges:
            raise ValueError("a panel has at least one judge")
        self._truth = truth
        self._judges = tuple(judges)
        self._rng = rng
        self._fixed = [_mirrored(len(truth), rng) if one.pair_noise else None for one in judges]
        self._steps = [self._quintiles(one) for one in judges]
        self._asked = 0

    def judge(self, pairs: IntArray) -> Verdicts:
        """Answer pairs in rows of (first, second), shape (k, 2); the judges take turns, by lot within the rows."""
        turn = (self._rng.permutation(len(pairs)) + self._asked) % len(self._judges)
        self._asked += len(pairs)
        outcome, confidence = np.zeros(len(pairs)), np.full(len(pairs), np.nan)
        for number in range(len(self._judges)):
            mine = turn == number
            seen = self._seen(number, pairs[mine])
            outcome[mine] = seen > 0
            confidence[mine] = self._confidence(number, seen)
        return Verdicts(pairs[:, 0], pairs[:, 1], outcome, turn.astype(np.int64), confidence)

    def _seen(self, number: int, pairs: IntArray) -> FloatArray:
        """The x of each pair."""
        profile, first, second = self._judges[number], pairs[:, 0], pairs[:, 1]
        noise = self._rng.logistic(size=len(pairs))
        fixed = self._fixed[number]
        if fixed is not None:
            noise = np.where(self._rng.random(len(pairs)) < profile.pair_noise, fixed[first, second], noise)
        gap = self._truth[first] - self._truth[second]
        return np.asarray(profile.sharpness * gap + profile.bias + noise, dtype=np.float64)

    def _confidence(self, number: int, seen: FloatArray) -> FloatArray:
        said = self._judges[number].confidence
        if said is Confidence.NONE:
            return np.full(len(seen), np.nan)
        if said is Confidence.NOISE:
            return self._rng.choice(LEVELS, size=len(seen))
        return LEVELS[np.digitize(np.abs(seen), self._steps[number])]

    def _quintiles(self, profile: JudgeProfile) -> FloatArray:
        """Where one level of confidence passes into the next, from random pairs of these items."""
        if profile.confidence is not Confidence.GRADED:
            return np.zeros(0)
        drawn = self._rng.choice(self._truth, size=(_CALIBRATION_PAIRS, 2))
        seen = profile.sharpness * (drawn[:, 0] - drawn[:, 1]) + self._rng.logistic(size=_CALIBRATION_PAIRS)
        return np.asarray(np.quantile(np.abs(seen), (0.2, 0.4, 0.6, 0.8)), dtype=np.float64)


def _mirrored(items: int, rng: np.random.Generator) -> FloatArray:
    """Logistic noise per ordered pair, shape (items, items), with the opposite sign for the swapped pair."""
    upper = np.triu(rng.logistic(size=(items, items)), 1)
    return np.asarray(upper - upper.T, dtype=np.float64)
