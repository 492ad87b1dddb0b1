"""What the comparisons connect: who can be compared with whom at all, and who has a finite score."""

import numpy as np

from app.cj.statistics import IntArray
from app.cj.statistics.verdicts import Verdicts, refuse_strangers


def islands(verdicts: Verdicts, items: int) -> IntArray:
    """Number of the connected component of each item, shape (items,); all 0 when the graph is connected.

    Across components only the prior compares, so a ranking over several islands is a guess.
    """
    refuse_strangers(verdicts, items)
    return components(verdicts.first, verdicts.second, items)


def island_count(islands: IntArray) -> int:
    """How many islands these numbers of theirs, one per item, tell of."""
    return int(islands.max(initial=0)) + 1


def components(one: IntArray, other: IntArray, items: int) -> IntArray:
    """Connected component of each item, numbered by the first member, from links between `one` and `other`."""
    root = np.arange(items)
    while True:
        ends = np.sort(np.stack((root[one], root[other])), axis=0)
        low, high = ends[:, ends[0] < ends[1]]
        if not low.size:
            return np.unique(root, return_inverse=True)[1].astype(np.int64)
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]


def unbounded(verdicts: Verdicts, items: int) -> IntArray:
    """Items that have no finite score without a prior, ascending.

    Scores are finite among items that can all reach each other along wins, a tie being a win for both (Ford 1957).
    On each island the largest such group keeps its scores, of equally large ones that of the lowest-numbered
    item; everybody else there runs off to plus or minus infinity against it. An item without verdicts has no
    score at all. Verdicts on items named here say nothing about the others and can be left out.
    """
    refuse_strangers(verdicts, items)
    won, lost = verdicts.outcome > 0.0, verdicts.outcome < 1.0
    winners = np.concatenate((verdicts.first[won], verdicts.second[lost]))
    losers = np.concatenate((verdicts.second[won], verdicts.first[lost]))
    groups = _mutually_reachable(winners, losers, items)
    sizes = np.bincount(groups, minlength=items)[groups]
    island = islands(verdicts, items)
    order = np.lexsort((np.arange(items), -sizes, island))  # per island its largest group first
    leaders = order[np.unique(island[order], return_index=True)[1]]
    kept = (groups == groups[leaders][island]) & (verdicts.count(items) > 0)
    return np.flatnonzero(~kept)


def _mutually_reachable(sources: IntArray, targets: IntArray, items: int) -> IntArray:
    """Strongly connected component of each item (Tarjan 1972), without recursion."""
    order = np.argsort(sources, kind="stable")
    following = targets[order].tolist()
    starts = np.searchsorted(sources[order], np.arange(items + 1)).tolist()
    component, entered, lowest = [-1] * items, [-1] * items, [0] * items
    open_items: list[int] = []
    clock = 0
    for root in range(items):
        if entered[root] >= 0:
            continue
        path = [(root, starts[root])]
        while path:
            here, at = path.pop()
            if entered[here] < 0:
                entered[here] = lowest[here] = clock
                clock += 1
                open_items.append(here)
            while at < starts[here + 1]:
                there = following[at]
                if entered[there] < 0:
                    break
                if component[there] < 0:
                    lowest[here] = min(lowest[here], lowest[there])
                at += 1
            else:
                if lowest[here] == entered[here]:
                    while component[here] < 0:
                        component[open_items.pop()] = here
                continue
            path += [(here, at), (there, starts[there])]
    return np.array(component, dtype=np.int64)
