import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.graph import islands
from app.cj.statistics.pairing import next_pairs
from app.cj.statistics.verdicts import Verdicts, pair_code


class Plan:
    """Round after round with scores that a moody judge gives, as a batch would ask for them."""

    def __init__(self, items: int, seed: int, random_rounds: int = 4) -> None:
        self.items, self.random_rounds = items, random_rounds
        self.rng, self.moods = np.random.default_rng(seed), np.random.default_rng(seed + 1)
        self.met = np.zeros((0, 2), dtype=np.int64)
        self.sides = np.zeros(items, dtype=np.int64)
        self.rounds = 0

    def round(self, scores: FloatArray | None = None) -> IntArray:
        pairs = next_pairs(
            items=self.items,
            rounds_done=self.rounds,
            random_rounds=self.random_rounds,
            scores=self.moods.standard_normal(self.items) if scores is None else scores,
            met=self.met,
            sides=self.sides,
            rng=self.rng,
        )
        self.rounds += 1
        self.met = np.concatenate((self.met, pairs))
        self.sides += np.bincount(pairs[:, 0], minlength=self.items)
        self.sides -= np.bincount(pairs[:, 1], minlength=self.items)
        return pairs

    def counts(self) -> IntArray:
        return np.bincount(self.met.ravel(), minlength=self.items)


batches = {"items": st.integers(1, 40), "seed": st.integers(0, 2**32), "random_rounds": st.integers(0, 5)}


@given(**batches)
@settings(max_examples=60, deadline=None)
def test_no_pair_is_planned_twice_and_every_pair_is_planned_in_the_end(
    items: int, seed: int, random_rounds: int
) -> None:
    plan = Plan(items, seed, random_rounds)
    while len(pairs := plan.round()):
        assert len(np.unique(pairs)) == pairs.size, "an item twice in one round"
    assert len(np.unique(pair_code(plan.met[:, 0], plan.met[:, 1], items))) == len(plan.met)
    assert len(plan.met) == items * (items - 1) // 2


@given(**batches)
@settings(max_examples=60, deadline=None)
def test_rounds_are_complete_and_even_while_fewer_than_half_of_the_others_are_met(
    items: int, seed: int, random_rounds: int
) -> None:
    plan = Plan(items, seed, random_rounds)
    for _ in range(items // 2 - 1):
        assert len(plan.round()) == items // 2
        assert np.ptp(plan.counts()) <= items % 2


@given(**batches)
@settings(max_examples=60, deadline=None)
def test_every_essay_is_shown_first_about_as_often_as_second(
    items: int, seed: int, random_rounds: int
) -> None:
    plan = Plan(items, seed, random_rounds)
    while len(plan.round()):
        assert np.abs(plan.sides).max() <= 5


def test_sides_stay_balanced_in_a_large_batch() -> None:
    plan = Plan(1000, seed=2)
    for _ in range(20):
        plan.round()
    assert np.abs(plan.sides).max() <= 5


def test_who_is_shown_first_does_not_depend_on_the_number_or_the_score_of_an_essay() -> None:
    plan = Plan(2000, seed=3, random_rounds=0)
    scores = plan.moods.standard_normal(2000)
    pairs = plan.round(scores)
    assert 0.45 < np.mean(pairs[:, 0] < pairs[:, 1]) < 0.55
    assert 0.45 < np.mean(scores[pairs[:, 0]] < scores[pairs[:, 1]]) < 0.55


def test_random_rounds_connect_the_batch() -> None:
    connected = 0
    for seed in range(50):
        plan = Plan(50, seed)
        for _ in range(4):
            plan.round()
        graph = Verdicts(plan.met[:, 0], plan.met[:, 1], np.ones(len(plan.met)))
        connected += not islands(graph, 50).any()
    assert connected >= 49


def test_random_rounds_ignore_the_scores_and_later_ones_pair_neighbours() -> None:
    plan = Plan(100, seed=5, random_rounds=1)
    scores = np.arange(100.0)
    by_lot, by_score = plan.round(scores), plan.round(scores)
    assert np.abs(by_lot[:, 0] - by_lot[:, 1]).mean() > 20
    assert np.abs(by_score[:, 0] - by_score[:, 1]).mean() < 2


def test_without_scores_every_round_is_random() -> None:
    none = np.zeros((0, 2), dtype=np.int64)
    pairs = next_pairs(
        items=100,
        rounds_done=9,
        random_rounds=4,
        scores=None,
        met=none,
        sides=np.zeros(100, np.int64),
        rng=np.random.default_rng(0),
    )
    assert np.abs(pairs[:, 0] - pairs[:, 1]).mean() > 20


def test_a_neighbour_already_met_is_passed_over() -> None:
    pairs = next_pairs(
        items=4,
        rounds_done=5,
        random_rounds=0,
        scores=np.arange(4.0),
        met=[(1, 0)],
        sides=np.zeros(4, np.int64),
        rng=np.random.default_rng(0),
    )
    assert sorted(map(sorted, pairs.tolist())) == [[0, 2], [1, 3]]


def test_two_who_were_left_over_break_up_a_pair() -> None:
    # greedily 0-1 comes first, and then 2 and 3 have only met each other
    pairs = next_pairs(
        items=4,
        rounds_done=5,
        random_rounds=0,
        scores=np.arange(4.0),
        met=[(2, 3)],
        sides=np.zeros(4, np.int64),
        rng=np.random.default_rng(0),
    )
    assert len(pairs) == 2


def test_the_essay_shown_first_less_often_goes_first() -> None:
    pairs = next_pairs(
        items=2,
        rounds_done=0,
        random_rounds=1,
        scores=None,
        met=[],
        sides=np.array([1, -1]),
        rng=np.random.default_rng(0),
    )
    assert pairs.tolist() == [[1, 0]]


@pytest.mark.parametrize("items", [29, 30])
def test_the_same_seed_gives_the_same_plan_however_the_past_is_listed(items: int) -> None:
    one, other = Plan(items, seed=7), Plan(items, seed=7)
    for _ in range(12):
        other.met = other.met[::-1, ::-1]
        assert (one.round() == other.round()).all()


def test_rounding_in_the_scores_does_not_change_the_plan() -> None:
    scores = np.repeat(np.arange(10.0), 4)
    noise = 1e-12 * np.random.default_rng(1).standard_normal(40)
    one, other = Plan(40, seed=7, random_rounds=0), Plan(40, seed=7, random_rounds=0)
    assert (one.round(scores) == other.round(scores + noise)).all()


def test_even_crowds_who_have_met_all_their_neighbours_find_partners_further_away() -> None:
    items, near = 400, np.arange(1, 90)
    here = np.repeat(np.arange(items), len(near))
    there = here + np.tile(near, items)
    met = np.stack((here, there), axis=1)[there < items]
    pairs = next_pairs(
        items=items,
        rounds_done=99,
        random_rounds=0,
        scores=np.arange(float(items)),
        met=met,
        sides=np.zeros(items, np.int64),
        rng=np.random.default_rng(0),
    )
    assert len(pairs) == items // 2
    assert np.abs(pairs[:, 0] - pairs[:, 1]).min() >= 90


def test_arguments_that_do_not_fit_are_refused() -> None:
    rng, sides = np.random.default_rng(0), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="outside 0"):
        next_pairs(items=3, rounds_done=0, random_rounds=1, scores=None, met=[(0, 3)], sides=sides, rng=rng)
    with pytest.raises(ValueError, match="each of 4 items"):
        next_pairs(items=4, rounds_done=0, random_rounds=1, scores=None, met=[], sides=sides, rng=rng)
