"""Do judges agree when they judge the same pair, and where do they differ most?"""

import math
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.expected import TIE, chance_to_agree, expected
from app.cj.statistics.normal import wilson_interval
from app.cj.statistics.verdicts import Verdicts, pair_code


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two judge configurations on the pairs that both judged.

    `share`: of `pairs` with the same winner; a tie agrees half with a win and fully with a tie; NaN without pairs.
    `low`, `high`: its 95 % interval. `expected`: what the fit expects of two judges whose errors are
    independent, the mean of p q + (1 - p) (1 - q) for the chances p and q that either gives to the same essay.
    """

    one: int
    other: int
    pairs: int
    share: float
    low: float
    high: float
    expected: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two judges named different winners of one pair; `gap`: how far apart its scores are, in logits.

    `favourite` has the higher score. `for_it` and `against_it` are the judges.
    """

    favourite: int
    rival: int
    for_it: int
    against_it: int
    gap: float


def agreements(verdicts: Verdicts, fit: Fit) -> list[Agreement]:
    """Every two judge configurations, also those without a common pair."""
    views = _views(verdicts, fit)
    return [
        _agreement(one, other, views)
        for one in range(len(fit.positions))
        for other in range(one + 1, len(fit.positions))
    ]


def disagreements(verdicts: Verdicts, fit: Fit) -> list[Disagreement]:
    """Pairs on which two judges named different winners, the widest gap first."""
    views, items = _views(verdicts, fit), len(fit.scores)
    found = []
    for one in range(len(fit.positions)):
        for other in range(one + 1, len(fit.positions)):
            codes, mine, theirs = _common(views[one], views[other])
            apart = (views[one].said[mine] - TIE) * (views[other].said[theirs] - TIE) < 0.0
            for code, said in zip(codes[apart].tolist(), views[one].said[mine][apart].tolist(), strict=True):
                low, high = divmod(code, items)
                gap = float(fit.scores[low] - fit.scores[high])
                favourite, rival = (low, high) if gap >= 0.0 else (high, low)
                judges = (one, other) if (said > TIE) == (favourite == low) else (other, one)
                found.append(Disagreement(favourite, rival, *judges, abs(gap)))
    return sorted(found, key=lambda each: (-each.gap, each.favourite, each.rival))


@dataclass(frozen=True, slots=True, eq=False)
class _OneView:
    """What one judge said of its pairs: ascending `code` low * n + high, and the mean said and expected for `low`."""

    code: IntArray
    said: FloatArray
    chance: FloatArray


def _views(verdicts: Verdicts, fit: Fit) -> list[_OneView]:
    items, known = len(fit.scores), expected(verdicts, fit)
    straight = verdicts.first < verdicts.second
    code = pair_code(verdicts.first, verdicts.second, items)
    said = np.where(straight, verdicts.outcome, 1.0 - verdicts.outcome)
    chance = np.where(straight, known.chance, 1.0 - known.chance)
    views = []
    for judge in range(len(fit.positions)):
        mine = verdicts.judge == judge
        codes, place, count = np.unique(code[mine], return_inverse=True, return_counts=True)
        means = (np.bincount(place, values[mine], len(codes)) / count for values in (said, chance))
        views.append(_OneView(codes, *means))
    return views


def _common(one: _OneView, other: _OneView) -> tuple[IntArray, IntArray, IntArray]:
    codes, mine, theirs = np.intersect1d(one.code, other.code, assume_unique=True, return_indices=True)
    return codes, mine, theirs


def _agreement(one: int, other: int, views: list[_OneView]) -> Agreement:
    _, mine, theirs = _common(views[one], views[other])
    pairs = len(mine)
    if not pairs:
        return Agreement(one, other, 0, math.nan, 0.0, 1.0, math.nan)
    same = float((1.0 - np.abs(views[one].said[mine] - views[other].said[theirs])).sum())
    p, q = views[one].chance[mine], views[other].chance[theirs]
    low, high = wilson_interval(same, pairs)
    likely = float(chance_to_agree(p, q).mean())
    return Agreement(one, other, pairs, same / pairs, low, high, likely)
