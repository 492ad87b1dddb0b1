"""Judges whose truth is known, for the tests of what is said about judges."""

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.verdicts import Verdicts


def truth(items: int, seed: int, *, sd: float = 1.8) -> FloatArray:
    return sd * np.random.default_rng(1000 + seed).standard_normal(items)


def random_rounds(items: int, rounds: int, rng: np.random.Generator) -> IntArray:
    """Pairs in rows of (first, second): in each round every essay meets one other."""
    lots = [rng.permutation(items)[: items // 2 * 2].reshape(-1, 2) for _ in range(rounds)]
    return np.concatenate(lots).astype(np.int64) if lots else np.zeros((0, 2), np.int64)


def judged(
    scores: FloatArray,
    pairs: IntArray,
    rng: np.random.Generator,
    *,
    judge: int = 0,
    bias: float = 0.0,
    sharpness: float = 1.0,
) -> Verdicts:
    """Verdicts of a logistic judge, sharpness 0 tosses coins."""
    logit = sharpness * (scores[pairs[:, 0]] - scores[pairs[:, 1]]) + bias
    outcome = (rng.random(len(pairs)) < 1.0 / (1.0 + np.exp(-logit))).astype(np.float64)
    return Verdicts(pairs[:, 0], pairs[:, 1], outcome, judge=np.full(len(pairs), judge, np.int64))


def together(*some: Verdicts) -> Verdicts:
    rows = ("first", "second", "outcome", "judge", "confidence")
    return Verdicts(*(np.concatenate([getattr(each, row) for each in some]) for row in rows))


def said(*rows: tuple[int, int, float] | tuple[int, int, float, int]) -> Verdicts:
    """Verdicts written out as (first, second, outcome[, judge])."""
    columns = [np.array([row[k] for row in rows]) for k in range(3)]
    judge = np.array([row[3] if len(row) > 3 else 0 for row in rows], np.int64)
    return Verdicts(
        columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2].astype(float), judge=judge
    )
