"""A class of 100: scores and exact standard errors, beside choix with the usual pseudo-inverse."""

from __future__ import annotations

import choix
import numpy as np

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Verdicts, fit
from benchmarks.statistics.bar import Bar
from benchmarks.statistics.clock import least
from benchmarks.statistics.graphs import as_pairs, random_graph

ITEMS = 100
TIMES = 30


def run() -> list[Bar]:
    """Milliseconds of the processor, the least of 30."""
    verdicts = random_graph(ITEMS, per_item=20, seed=7)
    pairs = as_pairs(verdicts)
    ours, known = least(lambda: fit(verdicts, ITEMS, sigma=1.8), times=TIMES)
    whole, _ = least(lambda: fit(verdicts, ITEMS), times=TIMES)
    warm, _ = least(lambda: fit(verdicts, ITEMS, sigma=1.8, start=known), times=TIMES)
    theirs, _ = least(lambda: _pseudo_inverse(choix.ilsr_pairwise(ITEMS, pairs), verdicts), times=TIMES)
    return [
        Bar("scores, bias and exact SE", 1e3 * ours, most=5.0, unit="ms"),
        Bar("the same from an earlier fit", 1e3 * warm, unit="ms"),
        Bar("with the spread estimated too", 1e3 * whole, unit="ms"),
        Bar("choix ilsr_pairwise and numpy pinv", 1e3 * theirs, unit="ms"),
    ]


def _pseudo_inverse(scores: FloatArray, verdicts: Verdicts) -> FloatArray:
    """Standard errors as they are often computed."""
    chance = 1.0 / (1.0 + np.exp(scores[verdicts.second] - scores[verdicts.first]))
    links = np.zeros((ITEMS, ITEMS))
    np.add.at(links, (verdicts.first, verdicts.second), chance * (1.0 - chance))
    links += links.T
    return np.sqrt(np.diagonal(np.linalg.pinv(np.diag(links.sum(axis=1)) - links)))
