"""Which judge sees which pair of a round: every judge as many pairs, and every essay each judge as often, as can be."""

import numpy as np

from app.cj.statistics import IntArray


def share_pairs(pairs: IntArray, seen: IntArray, rng: np.random.Generator) -> IntArray:
    """The judge of each pair, shape (k,), for pairs in rows, shape (k, 2).

    `seen` counts how often each item was put before each judge, shape (n, J). Within a round the judges' numbers of
    pairs differ by at most one, and whoever has had fewest so far gets the odd ones, so that after any number of rounds
    they differ by at most one as well. Under that rule a pair goes to the judge who has seen its two items least; lots
    decide between equals, and the order in which pairs choose. Then pairs change judges two by two as long as
    that evens things out: the sum of squares of `seen` falls with every exchange.

    An item judged by one severe or biased judge only could not be told from a worse one.
    """
    judges = seen.shape[1]
    if judges == 1 or not len(pairs):
        return np.zeros(len(pairs), dtype=np.int64)
    lots = rng.random(judges)
    room = np.full(judges, len(pairs) // judges)
    room[np.lexsort((lots, seen.sum(axis=0)))[: len(pairs) % judges]] += 1
    before = (seen[pairs[:, 0]] + seen[pairs[:, 1]]).tolist()
    chosen = [0] * len(pairs)
    free = room.tolist()
    ties = rng.random((len(pairs), judges)).tolist()
    for pair in rng.permutation(len(pairs)).tolist():
        cost, tie = before[pair], ties[pair]
        best = min((j for j in range(judges) if free[j]), key=lambda j: (cost[j], tie[j]))
        chosen[pair] = best
        free[best] -= 1
    return _exchange(np.array(chosen, dtype=np.int64), np.array(before, dtype=np.int64))


def _exchange(chosen: IntArray, before: IntArray) -> IntArray:
    """Let pairs change places as long as both together have then seen their judges less often before.

    Items of a round are distinct, so that one exchange does not change what another saves. Each pass looks for the
    best partner among the pairs of every other judge, at O(k J).
    """
    judges = before.shape[1]
    for _ in range(len(chosen)):
        best = (0, -1, -1)
        own = before[np.arange(len(chosen)), chosen]
        for one in range(judges):
            for other in range(one + 1, judges):
                here, there = np.flatnonzero(chosen == one), np.flatnonzero(chosen == other)
                if not (here.size and there.size):
                    continue
                gain_here, gain_there = own[here] - before[here, other], own[there] - before[there, one]
                a, b = int(np.argmax(gain_here)), int(np.argmax(gain_there))
                best = max(best, (int(gain_here[a] + gain_there[b]), int(here[a]), int(there[b])))
        gain, one, other = best
        if gain <= 0:
            break
        chosen[[one, other]] = chosen[[other, one]]
    return chosen
