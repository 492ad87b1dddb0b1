"""Scores and honest standard errors from pairwise verdicts: the way in to the Bradley-Terry model."""

import math
from dataclasses import dataclass, field

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.confidence import ConfidenceLevels
from app.cj.statistics.graph import islands
from app.cj.statistics.information import Wiring
from app.cj.statistics.posterior import Tally
from app.cj.statistics.reliability import eb_reliability
from app.cj.statistics.spread import TYPICAL_SIGMA, SpreadSearch
from app.cj.statistics.verdicts import Verdicts, refuse_strangers

__all__ = ["ConfidenceLevels", "Fit", "Verdicts", "fit", "islands"]

_SIGMAS = (1e-3, 1e3)  # beyond, the information matrix is no longer safe to factorise


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What the verdicts say about each item, and about each judge.

    Per item, shape (n,): `scores`, logits, mean 0; `standard_errors`, posterior sd of theta_i - mean(theta);
    `islands`, the number of the connected component: only scores of one island may be compared.
    Per judge configuration, shape (J,): `positions`, the advantage in logits of whoever is shown first, with
    `position_errors`, its posterior sd; `slopes`, discrimination, geometric mean 1: at half the slope a
    judge's odds are the square root; `levels`, what the stated confidence is worth.
    `sigma`: prior sd of the scores, infinite without a prior. `reliability`: see `eb_reliability`; at an
    estimated sigma below 1.3 it rests on the verdicts alone (`SpreadSearch.proven_sigma`); NaN without a prior.
    `iterations`: Newton steps.
    """

    scores: FloatArray
    standard_errors: FloatArray
    sigma: float
    reliability: float
    iterations: int
    positions: FloatArray = field(default_factory=lambda: np.zeros(1))
    position_errors: FloatArray = field(default_factory=lambda: np.zeros(1))
    slopes: FloatArray = field(default_factory=lambda: np.ones(1))
    levels: tuple[ConfidenceLevels, ...] = ()
    islands: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


def fit(
    verdicts: Verdicts,
    items: int,
    *,
    sigma: float | None = None,
    position: bool = True,
    slopes: bool = True,
    levels: bool = True,
    start: Fit | None = None,
) -> Fit:
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
    del position, slopes, levels
    judges = verdicts.judges
    search = SpreadSearch(_tally(verdicts, items), np.zeros(items) if start is None else start.scores)
    if sigma is None:
        sigma = search.likely_sigma(near=TYPICAL_SIGMA if start is None else start.sigma)
        proven = search.proven_sigma(likely=sigma)
    else:
        proven = sigma
    scores, standard_errors = _scores(search, sigma)
    doubted = standard_errors if proven == sigma else _scores(search, proven)[1]
    return Fit(
        scores=scores,
        standard_errors=standard_errors,
        sigma=sigma,
        reliability=eb_reliability(doubted, proven),
        iterations=search.steps,
        positions=np.zeros(judges),
        position_errors=np.zeros(judges),
        slopes=np.ones(judges),
        levels=tuple(
            ConfidenceLevels(np.zeros(0), np.zeros(0), used=False, reason="", gain=math.nan, verdicts=0)
            for _ in range(judges)
        ),
        islands=islands(verdicts, items),
    )


def _scores(search: SpreadSearch, sigma: float) -> tuple[FloatArray, FloatArray]:
    scores = search.mode(sigma)
    return scores, np.sqrt(search.tally.information(scores, sigma**-2).centred_variances())


def _tally(verdicts: Verdicts, items: int) -> Tally:
    """Sum the verdicts per pair, pairs in ascending order."""
    refuse_strangers(verdicts, items)
    low, high = np.minimum(verdicts.first, verdicts.second), np.maximum(verdicts.first, verdicts.second)
    surplus = np.where(verdicts.first < verdicts.second, 1.0, -1.0) * (verdicts.outcome - 0.5)
    pairs, inverse = np.unique(low * items + high, return_inverse=True)
    wiring = Wiring(items, pairs // items, pairs % items)
    count = np.bincount(inverse, minlength=len(pairs)).astype(np.float64)
    return Tally(wiring, count, np.bincount(inverse, surplus, len(pairs)).astype(np.float64))
