"""Which pairs to ask next: random rounds first, then neighbours on the scale.

A round gives each item at most one pair, so that all items gain verdicts evenly. After a few random rounds
(they keep the posterior honest) pairing unrepeated neighbours by score equals maximum-information and
D-optimal designs within noise, at a thousandth of their cost.
"""

from collections.abc import Iterable

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.verdicts import pair_code

_REACH = 64  # places in the order within which a partner is sought first; keeps a round at O(n log n)
_DIGITS = (
    8  # equal records differ by rounding (1e-13) after a warm start; the lots, not that, break their tie
)


def next_pairs(
    *,
    items: int,
    rounds_done: int,
    random_rounds: int,
    scores: FloatArray | None,
    met: IntArray | Iterable[tuple[int, int]],
    sides: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """Plan one round: pairs in rows of (first, second), shape (k, 2), never one that has been planned before.

    `met` holds every pair planned so far, judged or not, in any order and either direction, best as an array
    of shape (p, 2). `sides` counts for each item how often it was shown first minus second. The first
    `random_rounds` rounds, and all rounds without `scores`, pair at random; later ones pair neighbours by
    score. With an odd number of items one of those planned most often sits out.

    A round is complete whenever each item has met fewer than half of the others (Dirac 1952); later it may
    hold fewer pairs, and it is empty only when every pair has been planned.

    Raises:
        ValueError: arrays that do not fit `items`, or item numbers out of range.
    """
    planned = _as_pairs(met, items)
    if sides.shape != (items,) or (scores is not None and scores.shape != (items,)):
        raise ValueError(f"sides and scores need one value for each of {items} items")
    lots = rng.random(items)
    by_score = scores is not None and rounds_done >= random_rounds
    order = np.lexsort((lots, np.round(np.asarray(scores), _DIGITS))) if by_score else np.argsort(lots)
    if items % 2:
        busiest = np.lexsort((rng.random(items), np.bincount(planned.ravel(), minlength=items)))[-1]
        order = order[order != busiest]
    return _seat(_match(order, planned, items), sides, rng)


def _as_pairs(met: IntArray | Iterable[tuple[int, int]], items: int) -> IntArray:
    pairs = np.asarray(met if isinstance(met, np.ndarray) else list(met), dtype=np.int64).reshape(-1, 2)
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < items:
        raise ValueError(f"a planned pair names an item outside 0..{items - 1}")
    return pairs


def _match(order: IntArray, planned: IntArray, items: int) -> IntArray:
    """Pair each item with the nearest later one in `order` that it has not met; then help those left over."""
    pairs, left = _sweep(order, planned, items, reach=_REACH)
    if left.size:
        more, left = _sweep(left, planned, items, reach=len(left))
        pairs += more
    if len(left) > 1:
        pairs = _exchange(pairs, left, planned, items)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _sweep(
    order: IntArray, planned: IntArray, items: int, *, reach: int
) -> tuple[list[tuple[int, int]], IntArray]:
    """One greedy pass from the front, looking at most `reach` places ahead; returns pairs and the unpaired."""
    count = len(order)
    forbidden = _forbidden(order, planned, items, reach=reach)
    following = list(range(1, count + 1))  # the next unpaired place after each place
    partner = [-1] * count
    for here in range(count):
        if partner[here] >= 0:
            continue
        before, there = here, following[here]
        while there < count and here * count + there in forbidden:
            before, there = there, following[there]
        if there < count and there - here <= reach:
            partner[here], partner[there] = there, here
            following[before] = following[there]
    names = order.tolist()
    pairs = [(names[here], names[there]) for here, there in enumerate(partner) if there > here]
    return pairs, order[np.array(partner) < 0]


def _forbidden(order: IntArray, planned: IntArray, items: int, *, reach: int) -> set[int]:
    """Planned pairs as codes of places in `order`; only those within reach, since a set of all is slow."""
    count = len(order)
    place = np.full(items, -1)
    place[order] = np.arange(count)
    one, other = place[planned[:, 0]], place[planned[:, 1]]
    near = (np.minimum(one, other) >= 0) & (np.abs(one - other) <= reach)
    return set(pair_code(one[near], other[near], count).tolist())


def _exchange(
    pairs: list[tuple[int, int]], left: IntArray, planned: IntArray, items: int
) -> list[tuple[int, int]]:
    """Let two left-over items break up a pair when each finds an unmet partner in it.

    With fewer than half of the others met there always is such a pair: the two have more unused links into
    the pairs than there are pairs to spread them over two by two.
    """
    theirs = planned[np.isin(planned, left).any(axis=1)]
    met = set(pair_code(theirs[:, 0], theirs[:, 1], items).tolist())

    def unmet(one: int, other: int) -> bool:
        return min(one, other) * items + max(one, other) not in met

    waiting = left.tolist()
    while len(waiting) > 1:
        one, other = waiting.pop(), waiting.pop()
        for at, (here, there) in enumerate(pairs):
            if unmet(one, here) and unmet(other, there):
                pairs[at : at + 1] = [(one, here), (other, there)]
                break
            if unmet(one, there) and unmet(other, here):
                pairs[at : at + 1] = [(one, there), (other, here)]
                break
    return pairs


def _seat(pairs: IntArray, sides: IntArray, rng: np.random.Generator) -> IntArray:
    """Show first whoever was shown first less often; a coin decides between equals."""
    lead = sides[pairs[:, 0]] - sides[pairs[:, 1]] + rng.choice((-0.5, 0.5), size=len(pairs))
    return np.where((lead > 0)[:, None], pairs[:, ::-1], pairs)
