"""Ways of choosing the pairs of a round, side by side with the product's own."""

from enum import StrEnum

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.pairing import next_pairs
from app.cj.statistics.verdicts import Verdicts


class Policy(StrEnum):
    """Whom to compare with whom."""

    RANDOM = "random"
    """Any two items, with repeats, sides by lot."""
    BALANCED = "balanced"
    """Each item once per round, no pair twice, sides balanced."""
    SWISS = "swiss"
    """After one such round, items with equally many wins: a tournament."""
    OURS = "ours"
    """After some such rounds, neighbours on the fitted scale: what the product does."""


def choose(
    policy: Policy,
    *,
    items: int,
    rounds_done: int,
    random_rounds: int,
    scores: FloatArray | None,
    known: Verdicts,
    planned: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """Pairs of one round in rows of (first, second), shape (k, 2); about items / 2 of them.

    `scores` and `known` are of the verdicts that are in, `planned` holds every pair asked so far.
    """
    if policy is Policy.RANDOM:
        first = rng.integers(0, items, items // 2)
        return np.stack((first, (first + rng.integers(1, items, items // 2)) % items), axis=1)
    by: FloatArray | None = None
    if policy is Policy.SWISS:
        by, random_rounds = _wins(known, items), 1
    elif policy is Policy.OURS:
        by = scores
    sides = np.bincount(planned[:, 0], minlength=items) - np.bincount(planned[:, 1], minlength=items)
    return next_pairs(
        items=items,
        rounds_done=rounds_done,
        random_rounds=random_rounds,
        scores=by if len(known) else None,
        met=planned,
        sides=sides,
        rng=rng,
    )


def _wins(known: Verdicts, items: int) -> FloatArray:
    won = np.bincount(known.first, known.outcome, items) + np.bincount(
        known.second, 1.0 - known.outcome, items
    )
    return np.asarray(won, dtype=np.float64)
