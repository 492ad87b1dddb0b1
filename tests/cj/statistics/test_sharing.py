"""Judges share the pairs of a batch, and of each essay, as evenly as can be."""

from __future__ import annotations

import numpy as np
import pytest

from app.cj.statistics import IntArray
from app.cj.statistics.auditing import draw_audits
from app.cj.statistics.pairing import next_pairs
from app.cj.statistics.sharing import share_pairs


def shared(items: int, judges: int, rounds: int, seed: int) -> IntArray:
    """How often each item was put before each judge after so many rounds at random."""
    rng = np.random.default_rng(seed)
    met, seen = np.zeros((0, 2), np.int64), np.zeros((items, judges), np.int64)
    for done in range(rounds):
        pairs = next_pairs(
            items=items,
            rounds_done=done,
            random_rounds=rounds,
            scores=None,
            met=met,
            sides=np.zeros(items, np.int64),
            rng=rng,
        )
        chosen = share_pairs(pairs, seen, rng)
        assert np.ptp(np.bincount(chosen, minlength=judges)) <= 1
        for side in (0, 1):
            np.add.at(seen, (pairs[:, side], chosen), 1)
        met = np.vstack((met, pairs))
    return seen


@pytest.mark.parametrize(("items", "judges"), [(20, 2), (31, 3), (100, 5)])
def test_no_judge_sees_more_pairs_or_one_essay_much_more_often_than_another(items: int, judges: int) -> None:
    for seed in range(3):
        seen = shared(items, judges, 10, seed)
        assert np.ptp(seen.sum(axis=0)) <= 2  # two items a pair
        assert np.ptp(seen, axis=1).max() <= 3
        assert np.ptp(seen, axis=1).mean() <= 1.2


def test_one_judge_gets_everything_and_no_pairs_go_to_nobody() -> None:
    rng = np.random.default_rng(0)
    assert share_pairs(np.array([[0, 1], [2, 3]]), np.zeros((4, 1), np.int64), rng).tolist() == [0, 0]
    assert share_pairs(np.zeros((0, 2), np.int64), np.zeros((4, 3), np.int64), rng).tolist() == []


def test_of_twenty_verdicts_one_is_drawn_to_be_asked_again() -> None:
    rng = np.random.default_rng(1)

    def drawn(**given: int) -> list[int]:
        return [int(n) for n in draw_audits(share=0.05, rng=rng, **given)]

    assert drawn(candidates=10, verdicts=19, audited=0) == []
    assert len(drawn(candidates=10, verdicts=20, audited=0)) == 1
    assert drawn(candidates=10, verdicts=39, audited=1) == []
    assert len(set(drawn(candidates=50, verdicts=200, audited=3))) == 7
    assert drawn(candidates=2, verdicts=200, audited=0) == [0, 1]
