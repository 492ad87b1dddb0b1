"""Split-half reliability: fit two halves of the verdicts apart and see whether they rank the essays alike.

r is the Pearson correlation of the two sets of scores. Each half has half the verdicts, so the reliability of all of
them is 2 r / (1 + r) (Spearman 1910, Brown 1910), stepped up from the mean r over many splits. Halves by judge ask
whether other judges would give the same scale (Bisson et al. 2016); random halves cannot see what all judges get wrong
together. Adaptive pairing lifts both a little, for either half owes its pairs to the other (Bramley & Vitello 2019).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.bradley_terry import Fit, fit
from app.cj.statistics.correlation import pearson
from app.cj.statistics.verdicts import Verdicts

_FEWEST_ITEMS = 3  # two points always lie on a line
_FEWEST_JUDGES = 2
_ALL_SPLITS_OF = 12  # judges: up to 462 ways, few enough to list and draw from


@dataclass(frozen=True, slots=True)
class SplitHalf:
    """`correlation`: mean of r over `splits` splits. `reliability`: stepped up, at least 0.

    All NaN when no split left two halves that can be correlated, which `splits` = 0 says.
    """

    correlation: float
    reliability: float
    splits: int


def split_by_verdicts(verdicts: Verdicts, known: Fit, *, splits: int = 20, seed: int = 0) -> SplitHalf:
    """Random halves of the verdicts, drawn from their canonical order so that the order of arrival cannot matter."""
    order = np.lexsort(
        (verdicts.confidence, verdicts.outcome, verdicts.second, verdicts.first, verdicts.judge)
    )
    rng = np.random.default_rng(seed)
    half = len(order) // 2
    drawn = (rng.permutation(order) for _ in range(splits))
    return _summary(_correlation(verdicts, known, lot[:half], lot[half:]) for lot in drawn)


def split_by_judges(verdicts: Verdicts, known: Fit, *, splits: int = 20, seed: int = 0) -> SplitHalf:
    """Halves by judge configuration: every way to part the judges when there are at most `splits`, else that many.

    With one judge there is no such split. Spearman and Brown suppose halves of equal size; where one judge gave
    most of the verdicts the figure is too low.
    """
    judges = np.unique(verdicts.judge)
    found = []
    for some in _parts(judges, splits, np.random.default_rng(seed)):
        mine = np.isin(verdicts.judge, some)
        found.append(_correlation(verdicts, known, np.flatnonzero(mine), np.flatnonzero(~mine)))
    return _summary(found)


def step_up(correlation: float) -> float:
    """Spearman-Brown for two halves, 2 r / (1 + r); 0 for r <= 0, where halves share nothing."""
    return 2.0 * correlation / (1.0 + correlation) if correlation > 0.0 else 0.0


def _parts(judges: IntArray, most: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Halves of the judges, none twice while they can be listed; the other half is the rest."""
    if len(judges) < _FEWEST_JUDGES:
        return
    size = len(judges) // 2
    if len(judges) > _ALL_SPLITS_OF:
        for _ in range(most):
            yield rng.permutation(judges)[:size]
        return
    ways = [np.array(part) for part in itertools.combinations(judges.tolist(), size)]
    if len(judges) % 2 == 0:
        ways = ways[: len(ways) // 2]  # the other way round they come again
    yield from (ways[k] for k in sorted(rng.permutation(len(ways))[:most].tolist()))


def _correlation(verdicts: Verdicts, known: Fit, one: IntArray, other: IntArray) -> float:
    """Pearson's r over the items that both halves judged; NaN where it is undefined."""
    items = len(known.scores)
    halves = [verdicts.where(rows) for rows in (one, other)]
    both = np.flatnonzero((halves[0].count(items) > 0) & (halves[1].count(items) > 0))
    if len(both) < _FEWEST_ITEMS:
        return math.nan
    return pearson(*(_scores(half, known)[both] for half in halves))


def _scores(half: Verdicts, known: Fit) -> FloatArray:
    """Scores of a half at the spread of the whole, by who won: half the verdicts are too few to fit more anew.

    Positions are fitted where the whole has them: switched off, they would come back in each half.
    """
    position = bool(np.nan_to_num(known.positions).any())
    return fit(
        half, len(known.scores), sigma=known.sigma, position=position, slopes=False, levels=False
    ).scores


def _summary(correlations: Iterator[float] | list[float]) -> SplitHalf:
    found = np.array([each for each in correlations if not math.isnan(each)])
    if not found.size:
        return SplitHalf(math.nan, math.nan, 0)
    mean = float(found.mean())
    return SplitHalf(mean, step_up(mean), len(found))
