"""Verdicts on graphs that are easy and hard for an estimator, always with a finite maximum of the likelihood."""

from __future__ import annotations

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.bradley_terry import Verdicts

SPREAD = 1.8
NEIGHBOURS = 10


def random_graph(items: int, *, per_item: int, seed: int) -> Verdicts:
    """Random pairs, and a ring in which each item beats the next: strongly connected (Ford 1957)."""
    rng = np.random.default_rng(seed)
    theta = SPREAD * rng.standard_normal(items)
    asked = items * per_item // 2 - items
    first = rng.integers(0, items, asked)
    second = (first + rng.integers(1, items, asked)) % items
    ring = rng.permutation(items)
    return _judged(theta, first, second, (ring, np.roll(ring, -1)), rng)


def neighbour_graph(items: int, *, seed: int) -> Verdicts:
    """Each item meets only its ten nearest neighbours on the true scale, and each of a pair of neighbours once wins."""
    rng = np.random.default_rng(seed)
    theta = np.sort(SPREAD * rng.standard_normal(items))
    first = np.repeat(np.arange(items), NEIGHBOURS)
    second = first + np.tile(np.arange(1, NEIGHBOURS + 1), items)
    kept = second < items
    chain = np.arange(items - 1)
    extra = (np.concatenate((chain, chain + 1)), np.concatenate((chain + 1, chain)))
    return _judged(theta, first[kept], second[kept], extra, rng)


def _judged(
    theta: FloatArray,
    first: IntArray,
    second: IntArray,
    won: tuple[IntArray, IntArray],
    rng: np.random.Generator,
) -> Verdicts:
    chance = 1.0 / (1.0 + np.exp(theta[second] - theta[first]))
    outcome = np.concatenate((rng.random(len(first)) < chance, np.ones(len(won[0]))))
    return Verdicts(np.concatenate((first, won[0])), np.concatenate((second, won[1])), outcome)


def as_pairs(verdicts: Verdicts) -> list[tuple[int, int]]:
    """(winner, loser) of each verdict, as choix takes them."""
    won = verdicts.outcome > 0.5
    winner = np.where(won, verdicts.first, verdicts.second)
    loser = np.where(won, verdicts.second, verdicts.first)
    return list(zip(winner.tolist(), loser.tolist(), strict=True))


def log_likelihood(scores: FloatArray, verdicts: Verdicts) -> float:
    """Of the Bradley-Terry model, in nats."""
    gaps = scores[verdicts.first] - scores[verdicts.second]
    return float(-np.logaddexp(0.0, np.where(verdicts.outcome > 0.5, -gaps, gaps)).sum())
