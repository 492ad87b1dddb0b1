"""Ten thousand essays with 100,000 verdicts: fit, standard errors, next pairs, one more wave; evalica and choix beside."""

from __future__ import annotations

import choix
import evalica
import numpy as np

from app.cj.statistics.bradley_terry import Verdicts, fit
from app.cj.statistics.pairing import next_pairs
from benchmarks.statistics.bar import Bar
from benchmarks.statistics.clock import least
from benchmarks.statistics.graphs import as_pairs, random_graph

ITEMS = 10_000
SIGMA = 1.8


def run() -> list[Bar]:
    """Seconds of the processor, the least of several."""
    verdicts = random_graph(ITEMS, per_item=20, seed=7)
    before = Verdicts(*(part[: -ITEMS // 2] for part in (verdicts.first, verdicts.second, verdicts.outcome)))
    cold, known = least(lambda: fit(verdicts, ITEMS, sigma=SIGMA))
    earlier = fit(before, ITEMS, sigma=SIGMA)
    warm, _ = least(lambda: fit(verdicts, ITEMS, sigma=SIGMA, start=earlier))
    whole, _ = least(lambda: fit(verdicts, ITEMS), times=1)
    met = np.stack((verdicts.first, verdicts.second), axis=1)
    sides = np.bincount(met[:, 0], minlength=ITEMS) - np.bincount(met[:, 1], minlength=ITEMS)
    pairing, pairs = least(
        lambda: next_pairs(
            items=ITEMS,
            rounds_done=20,
            random_rounds=5,
            scores=known.scores,
            met=met,
            sides=sides,
            rng=np.random.default_rng(0),
        )
    )
    assert len(pairs) == ITEMS // 2
    return [
        Bar("scores with bias, and SE, spread given", cold, most=0.5, unit="s"),
        Bar("the same after a wave of 5,000, from the fit before", warm, unit="s"),
        Bar("the next 5,000 pairs", 1e3 * pairing, most=20.0, unit="ms"),
        Bar("scores, SE and the spread", whole, unit="s"),
        *_peers(verdicts),
    ]


def _peers(verdicts: Verdicts) -> list[Bar]:
    """Scores alone, for neither gives standard errors. choix holds a dense matrix, so it is asked at 1,000."""
    winners, losers = zip(*as_pairs(verdicts), strict=True)
    said = [evalica.Winner.X] * len(winners)
    theirs, _ = least(lambda: evalica.bradley_terry(winners, losers, said), times=1)
    thousand = random_graph(1000, per_item=20, seed=7)
    pairs = as_pairs(thousand)
    ours, _ = least(lambda: fit(thousand, 1000, sigma=SIGMA))
    dense, _ = least(lambda: choix.ilsr_pairwise(1000, pairs), times=1)
    return [
        Bar("evalica, scores alone", theirs, unit="s"),
        Bar("1,000 essays: ours, scores and exact SE", ours, unit="s"),
        Bar("1,000 essays: choix ilsr_pairwise, scores alone", dense, unit="s"),
    ]
