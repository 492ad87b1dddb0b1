"""Ten thousand essays with 100,000 verdicts: scores, standard errors, one more wave, next pairs; evalica and choix beside."""

from __future__ import annotations

import choix
import evalica
import numpy as np

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Verdicts, fit
from app.cj.statistics.calibration import Judges
from app.cj.statistics.pairing import next_pairs
from app.cj.statistics.posterior import find_mode
from app.cj.statistics.tally import Tally, Terms
from benchmarks.statistics.bar import Bar
from benchmarks.statistics.clock import least
from benchmarks.statistics.graphs import as_pairs, random_graph

ITEMS = 10_000
SIGMA = 1.8


def run() -> list[Bar]:
    """Seconds of the processor, the least of several."""
    verdicts = random_graph(ITEMS, per_item=20, seed=7)
    before = Verdicts(*(part[: -ITEMS // 2] for part in (verdicts.first, verdicts.second, verdicts.outcome)))
    scoring, state = least(lambda: _scores(verdicts))
    tally = _tally(verdicts)
    doubting, _ = least(lambda: _errors(tally, state))
    cold, known = least(lambda: fit(verdicts, ITEMS, sigma=SIGMA))
    earlier = _scores(before)
    warm, _ = least(lambda: _scores(verdicts, earlier))
    whole, _ = least(lambda: fit(verdicts, ITEMS), times=1)
    met = np.stack((verdicts.first, verdicts.second), axis=1)
    sides = np.bincount(met[:, 0], minlength=ITEMS) - np.bincount(met[:, 1], minlength=ITEMS)
    pairing, pairs = least(
        lambda: next_pairs(
            items=ITEMS,
            rounds_done=20,
            random_rounds=4,
            scores=known.scores,
            met=met,
            sides=sides,
            rng=np.random.default_rng(0),
        )
    )
    assert len(pairs) == ITEMS // 2
    return [
        Bar("scores with bias, spread given", scoring, most=0.2, unit="s"),
        Bar("their SE", doubting, most=0.3, unit="s"),
        Bar("scores after a wave of 5,000, from the scores before", warm, most=0.1, unit="s"),
        Bar("scores and SE in one call of `fit`, spread given", cold, unit="s"),
        Bar("the next 5,000 pairs", 1e3 * pairing, most=20.0, unit="ms"),
        Bar("scores, SE and the spread", whole, unit="s"),
        *_peers(verdicts),
    ]


def _tally(verdicts: Verdicts) -> Tally:
    one = Judges.alike(1)
    return Tally(Terms.of(verdicts, ITEMS, judges=1), slopes=one.slopes, hurdles=one.hurdles, position=True)


def _scores(verdicts: Verdicts, start: FloatArray | None = None) -> FloatArray:
    """What `fit` does for the scores and the position, from the verdicts on."""
    tally = _tally(verdicts)
    return find_mode(tally, SIGMA**-2, tally.blank() if start is None else start).state


def _errors(tally: Tally, state: FloatArray) -> FloatArray:
    """What `fit` does for the standard errors once the scores are found."""
    information = tally.at(state).information(SIGMA**-2)
    return np.sqrt(np.concatenate((information.centred_variances(), information.position_variances())))


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
