"""Scores and honest standard errors from pairwise verdicts: the way in to the Bradley-Terry model."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.information import Wiring
from app.cj.statistics.posterior import Tally
from app.cj.statistics.reliability import eb_reliability
from app.cj.statistics.spread import TYPICAL_SIGMA, SpreadSearch

_SIGMAS = (1e-3, 1e3)  # beyond, the information matrix is no longer safe to factorise


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """Verdicts in parallel arrays of shape (m,): who was shown first, who second, and what the judge said.

    `outcome` is 1.0 when the first won, 0.0 when the second won, 0.5 for a tie. The arrays are copied and
    made read-only.
    """

    first: IntArray
    second: IntArray
    outcome: FloatArray

    def __post_init__(self) -> None:
        for name, dtype in (("first", np.int64), ("second", np.int64), ("outcome", np.float64)):
            given = np.asarray(getattr(self, name))
            if given.size and dtype is np.int64 and given.dtype.kind not in "iu":
                raise ValueError(f"`{name}` holds item numbers, not {given.dtype}")
            array = np.array(given, dtype=dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.first.ndim != 1 or not self.first.shape == self.second.shape == self.outcome.shape:
            shapes = f"{self.first.shape}, {self.second.shape}, {self.outcome.shape}"
            raise ValueError(f"first, second and outcome must be equally long rows, not {shapes}")
        if (np.minimum(self.first, self.second) < 0).any():
            raise ValueError("item numbers start at 0")
        if (self.first == self.second).any():
            raise ValueError(f"item {self.first[self.first == self.second][0]} is compared with itself")
        if not ((self.outcome >= 0.0) & (self.outcome <= 1.0)).all():
            raise ValueError("an outcome lies between 0.0 (second won) and 1.0 (first won)")

    @classmethod
    def empty(cls) -> Self:
        """No verdicts yet."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))

    def __len__(self) -> int:
        return len(self.first)

    def count(self, items: int) -> IntArray:
        """Verdicts per item, shape (items,)."""
        _refuse_strangers(self, items)
        return np.bincount(np.concatenate((self.first, self.second)), minlength=items).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What the verdicts say about each item.

    `scores`: logits, shape (n,), mean 0. `standard_errors`: posterior sd of theta_i - mean(theta), shape
    (n,). `sigma`: prior sd of the scores. `reliability`: see `eb_reliability`; at an estimated sigma below 1.3
    it rests on the verdicts alone (`SpreadSearch.proven_sigma`). `iterations`: Newton steps.
    """

    scores: FloatArray
    standard_errors: FloatArray
    sigma: float
    reliability: float
    iterations: int


def fit(verdicts: Verdicts, items: int, *, sigma: float | None = None, start: Fit | None = None) -> Fit:
    """Posterior mode (MAP) under theta_i ~ N(0, sigma^2), with standard errors.

    Without `sigma` the spread is estimated too, by the Laplace approximation to the marginal likelihood with
    hyperprior log sigma ~ N(log 1.3, 0.6^2). `start` is an earlier fit to begin from: it saves time and does
    not change the result. Order, sides and numbering of the verdicts do not matter up to `EXACT_ITEMS`
    items; above, numbering moves sigma and standard errors within the error of their estimation.

    Raises:
        ValueError: no items, an item number out of range, a sigma out of range, another batch's start.
        NotConverged: an iteration reached its limit.
    """
    if sigma is not None and not _SIGMAS[0] <= sigma <= _SIGMAS[1]:
        raise ValueError(f"sigma must lie between {_SIGMAS[0]} and {_SIGMAS[1]}, not {sigma}")
    if start is not None and start.scores.shape != (items,):
        raise ValueError(f"the start has {len(start.scores)} items, this batch {items}")
    search = SpreadSearch(_tally(verdicts, items), np.zeros(items) if start is None else start.scores)
    if sigma is None:
        sigma = search.likely_sigma(near=TYPICAL_SIGMA if start is None else start.sigma)
        proven = search.proven_sigma(likely=sigma)
    else:
        proven = sigma
    scores, standard_errors = _scores(search, sigma)
    doubted = standard_errors if proven == sigma else _scores(search, proven)[1]
    return Fit(scores, standard_errors, sigma, eb_reliability(doubted, proven), search.steps)


def islands(verdicts: Verdicts, items: int) -> IntArray:
    """Number of the connected component of each item, shape (items,); all 0 when the graph is connected.

    Across components only the prior compares, so a ranking over several islands is a guess.
    """
    _refuse_strangers(verdicts, items)
    root = np.arange(items)
    while True:
        ends = np.sort(np.stack((root[verdicts.first], root[verdicts.second])), axis=0)
        low, high = ends[:, ends[0] < ends[1]]
        if not low.size:
            return np.unique(root, return_inverse=True)[1].astype(np.int64)
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]


def _scores(search: SpreadSearch, sigma: float) -> tuple[FloatArray, FloatArray]:
    scores = search.mode(sigma)
    return scores, np.sqrt(search.tally.information(scores, sigma**-2).centred_variances())


def _tally(verdicts: Verdicts, items: int) -> Tally:
    """Sum the verdicts per pair, pairs in ascending order."""
    _refuse_strangers(verdicts, items)
    low, high = np.minimum(verdicts.first, verdicts.second), np.maximum(verdicts.first, verdicts.second)
    surplus = np.where(verdicts.first < verdicts.second, 1.0, -1.0) * (verdicts.outcome - 0.5)
    pairs, inverse = np.unique(low * items + high, return_inverse=True)
    wiring = Wiring(items, pairs // items, pairs % items)
    count = np.bincount(inverse, minlength=len(pairs)).astype(np.float64)
    return Tally(wiring, count, np.bincount(inverse, surplus, len(pairs)).astype(np.float64))


def _refuse_strangers(verdicts: Verdicts, items: int) -> None:
    if items < 1:
        raise ValueError("a batch has at least one item")
    if len(verdicts) and (last := int(max(verdicts.first.max(), verdicts.second.max()))) >= items:
        raise ValueError(f"a verdict names item {last}, but there are only {items} items")
