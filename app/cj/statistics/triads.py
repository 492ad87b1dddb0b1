"""Circular triads: how often A beat B, B beat C and C beat A, against what the scale and mere chance would give.

A coin makes one triad in four circular (Kendall & Babington Smith 1940). Judges on one scale make fewer, the fewer
the wider the three essays lie apart; many more than the fit expects say that there is more than one scale in play.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.coins import heads
from app.cj.statistics.expected import expected
from app.cj.statistics.verdicts import Verdicts, pair_code

_BY_CHANCE = 0.25


@dataclass(frozen=True, slots=True)
class Triads:
    """`triads`: sets of three essays of which all three pairs are decided; `circular` of them contradict themselves.

    `expected`: circular ones by the fit's chances. `by_chance`: by coins, a quarter. The fit was made to these very
    verdicts, so `expected` lies a little low.
    """

    triads: int
    circular: int
    expected: float
    by_chance: float


def triads(verdicts: Verdicts, fit: Fit) -> Triads:
    """Count circular triads over the majority of the verdicts on each pair; an even split decides nothing."""
    low, high, beats, chance = _decided_pairs(verdicts, fit)
    count, circular, likely = 0, 0, 0.0
    for ab, bc, ac in _closed(low, high, len(fit.scores)):
        count += len(ab)
        # a -> b -> c -> a, or the other way round: the long side contradicts two short sides that agree
        circular += int(((beats[ab] == beats[bc]) & (beats[ab] != beats[ac])).sum())
        p, q, r = chance[ab], chance[bc], chance[ac]
        likely += float((p * q * (1.0 - r) + (1.0 - p) * (1.0 - q) * r).sum())
    return Triads(count, circular, likely, _BY_CHANCE * count)


def _decided_pairs(
    verdicts: Verdicts, fit: Fit
) -> tuple[IntArray, IntArray, np.typing.NDArray[np.bool_], FloatArray]:
    """Ascending pairs low < high, whether low won the majority, and the chance of that given a decision."""
    items, known = len(fit.scores), expected(verdicts, fit)
    straight = verdicts.first < verdicts.second
    codes = pair_code(verdicts.first, verdicts.second, items)
    pairs, place, times = np.unique(codes, return_inverse=True, return_counts=True)
    surplus = np.bincount(place, np.where(straight, 1.0, -1.0) * (verdicts.outcome - 0.5), len(pairs))
    chance = np.bincount(place, np.where(straight, known.chance, 1.0 - known.chance), len(pairs)) / times
    decided = surplus != 0.0
    majority = _majority(chance[decided], times[decided])
    return pairs[decided] // items, pairs[decided] % items, surplus[decided] > 0.0, majority


def _majority(chance: FloatArray, times: IntArray) -> FloatArray:
    """Chance that most of `times` independent verdicts are for it, given that they are not evenly split."""
    result = chance.copy()
    for n in np.unique(times[times > 1]).tolist():
        here = times == n
        ways = heads(np.repeat(chance[here][:, None], n, axis=1))
        most, least = ways[:, n // 2 + 1 :].sum(axis=1), ways[:, : (n + 1) // 2].sum(axis=1)
        result[here] = most / (most + least)
    return result


def _closed(low: IntArray, high: IntArray, items: int) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """For each a the rows of the pairs (a, b), (b, c) and (a, c) of every triangle a < b < c.

    Pairs are ascending, so those of one `a` stand together, and a third side is found by binary search.
    """
    codes = low * items + high
    starts = np.searchsorted(low, np.arange(items + 1))
    for a in range(items):
        begin, end = int(starts[a]), int(starts[a + 1])
        if end - begin < 2:  # noqa: PLR2004 -- a triangle has two sides at its lowest corner
            continue
        shorter, longer = np.triu_indices(end - begin, 1)
        ab, ac = begin + shorter, begin + longer
        wanted = high[ab] * items + high[ac]
        bc = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        closed = codes[bc] == wanted
        yield ab[closed], bc[closed], ac[closed]
