"""Every awkward input, and the answer that is promised for it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Fit, Unbounded, Verdicts, fit
from app.cj.statistics.graph import islands, unbounded

from .test_bradley_terry import judged, log_likelihood, newton_in_full, verdicts


def strongly_connected(items: int, per_essay: int, *, neighbours: int | None = None) -> Verdicts:
    """Verdicts in which everybody both wins and loses; `neighbours` restricts pairs to those close in truth."""
    if neighbours is None:
        base = judged(items, per_essay, seed=8)
        first, second, outcome = base.first, base.second, base.outcome
    else:
        rng, truth = np.random.default_rng(3), np.linspace(-4.0, 4.0, items)
        first = np.repeat(np.arange(items), neighbours)
        second = np.minimum(first + np.tile(np.arange(1, neighbours + 1), items), items - 1)
        first, second = first[first != second], second[first != second]
        turned = rng.random(len(first)) < 0.5
        first, second = np.where(turned, second, first), np.where(turned, first, second)
        outcome = (rng.random(len(first)) < 1 / (1 + np.exp(truth[second] - truth[first]))).astype(float)
    ring = np.arange(items - 1)
    return Verdicts(
        np.concatenate((first, ring, ring)),
        np.concatenate((second, ring + 1, ring + 1)),
        np.concatenate((outcome, np.ones(items - 1), np.zeros(items - 1))),
    )


def test_one_essay_has_a_score_of_nothing_and_no_reliability() -> None:
    found = fit(Verdicts.empty(), 1)
    assert found.scores.tolist() == [0.0]
    assert found.reliability == 0.0
    assert found.islands.tolist() == [0]
    assert found.standard_errors[0] == pytest.approx(0.0, abs=1e-7)


def test_duplicated_verdicts_count_twice() -> None:
    once, twice = (
        fit(verdicts(*[(0, 1, 1.0), (1, 2, 1.0)] * k), 3, sigma=1.3, position=False) for k in (1, 2)
    )
    assert twice.scores[0] > once.scores[0]
    assert (twice.standard_errors < once.standard_errors).all()


def test_two_islands_are_named_and_each_has_mean_nothing() -> None:
    one, other = judged(12, 8, seed=2), judged(8, 8, seed=3)
    both = Verdicts(
        np.concatenate((one.first, other.first + 12)),
        np.concatenate((one.second, other.second + 12)),
        np.concatenate((one.outcome, other.outcome)),
    )
    found = fit(both, 21, sigma=1.5)
    assert found.islands.tolist() == [0] * 12 + [1] * 8 + [2]
    assert abs(found.scores[:12].mean()) < 1e-9
    assert abs(found.scores[12:20].mean()) < 1e-9
    assert found.standard_errors[20] > found.standard_errors[:20].max()


def test_a_judge_who_always_says_a_has_a_position_and_no_opinion() -> None:
    given_ = judged(40, 20)
    found = fit(Verdicts(given_.first, given_.second, np.ones(len(given_))), 40)
    assert found.positions[0] > 3
    assert found.reliability < 0.15


def test_a_judge_nobody_asked_keeps_the_prior() -> None:
    base = judged(20, 12)
    found = fit(Verdicts(base.first, base.second, base.outcome, np.full(len(base), 2)), 20)
    assert found.positions[:2].tolist() == [0.0, 0.0]
    assert found.position_errors[:2] == pytest.approx([1.0, 1.0])
    assert found.slopes == pytest.approx([1.0, 1.0, 1.0])


def test_a_confidence_that_is_no_number_between_nothing_and_one_is_refused() -> None:
    for wrong in (-0.1, 1.1, math.inf):
        with pytest.raises(ValueError, match="a confidence lies"):
            Verdicts(np.array([0]), np.array([1]), np.array([1.0]), confidence=np.array([wrong]))
    with pytest.raises(ValueError, match="judge numbers start at 0"):
        Verdicts(np.array([0]), np.array([1]), np.array([1.0]), judge=np.array([-1]))


# without a prior


@pytest.mark.parametrize("neighbours", [None, 4])
def test_without_a_prior_the_likelihood_is_as_high_as_it_gets(neighbours: int | None) -> None:
    items = 80
    data = strongly_connected(items, 8, neighbours=neighbours)
    best, inverse = newton_in_full(data, items, math.inf)
    found = fit(data, items, sigma=math.inf)
    reached = log_likelihood(data, found.scores, float(found.positions[0]))
    assert log_likelihood(data, best[:items], float(best[items])) - reached <= 1e-8
    assert np.abs(found.scores - best[:items] + best[:items].mean()).max() < 1e-6
    centring = np.eye(items) - 1 / items
    spread = np.diag(centring @ inverse[:items, :items] @ centring)
    assert np.abs(found.standard_errors / np.sqrt(spread) - 1).max() < 1e-6
    assert found.sigma == math.inf
    assert math.isnan(found.reliability)


def test_without_a_prior_the_undefeated_and_the_unjudged_are_named_and_not_guessed() -> None:
    data = verdicts((0, 1, 1), (1, 2, 1), (2, 1, 1), (2, 3, 1), (4, 5, 0.5))
    assert unbounded(data, 7).tolist() == [0, 3, 6]
    with pytest.raises(Unbounded, match=r"items \[0, 3, 6\]") as refused:
        fit(data, 7, sigma=math.inf)
    assert refused.value.items.tolist() == [0, 3, 6]
    assert unbounded(verdicts((0, 1, 1), (1, 2, 1), (2, 0, 1)), 3).tolist() == []


def test_without_a_prior_a_position_that_runs_away_is_named_too() -> None:
    with pytest.raises(Unbounded, match=r"position of judges \[0\]"):
        fit(verdicts((0, 1, 1), (1, 2, 1), (2, 0, 1)), 3, sigma=math.inf)
    assert not fit(verdicts((0, 1, 1), (1, 2, 1), (2, 0, 1)), 3, sigma=math.inf, position=False).scores.any()


@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_bounded_items_are_the_largest_groups_that_reach_each_other_along_wins(
    seed: int, items: int, m: int
) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, items, m)
    data = Verdicts(first, (first + rng.integers(1, items, m)) % items, rng.choice((0.0, 0.5, 1.0), m))
    reach = np.eye(items, dtype=bool)
    reach[data.first[data.outcome > 0], data.second[data.outcome > 0]] = True
    reach[data.second[data.outcome < 1], data.first[data.outcome < 1]] = True
    for _ in range(4):
        reach = reach @ reach
    sizes, label, kept = (reach & reach.T).sum(axis=1), islands(data, items), []
    for island in range(label.max() + 1):
        here = np.flatnonzero(label == island)
        leader = here[sizes[here].argmax()]
        if len(here) > 1:
            kept += np.flatnonzero(reach[leader] & reach[:, leader]).tolist()
    assert unbounded(data, items).tolist() == sorted(set(range(items)) - set(kept))


# for any verdicts at all


def anything(seed: int, items: int, m: int) -> Verdicts:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, items, m)
    second = (first + rng.integers(1, items, m)) % items
    return Verdicts(first, second, rng.choice((0.0, 0.5, 1.0, 0.3), m), rng.integers(0, 3, m), rng.random(m))


@given(st.integers(0, 2**32), st.integers(2, 15), st.integers(0, 60))
@settings(max_examples=25, deadline=None)
def test_scores_are_finite_for_any_multigraph(seed: int, items: int, m: int) -> None:
    found = fit(anything(seed, items, m), items)
    for figures in (
        found.scores,
        found.standard_errors,
        found.positions,
        found.position_errors,
        found.slopes,
    ):
        assert np.isfinite(figures).all()
    assert 0.0 <= found.reliability <= 1.0


@given(st.integers(0, 2**32), st.integers(3, 12), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_a_further_verdict_for_an_essay_never_lowers_it(seed: int, items: int, m: int) -> None:
    """With sigma given and verdicts that count by their winner: sigma, slopes and levels may otherwise shift."""
    rng, before = np.random.default_rng(seed), anything(seed, items, m)
    winner, loser = rng.choice(items, 2, replace=False)

    def plain(data: Verdicts) -> Fit:
        return fit(data, items, sigma=1.3, slopes=False, levels=False)

    after = Verdicts(
        np.append(before.first, winner), np.append(before.second, loser), np.append(before.outcome, 1.0),
        np.append(before.judge, 0), np.append(before.confidence, np.nan),
    )  # fmt: skip
    old, new = plain(before), plain(after)
    assert new.scores[winner] >= old.scores[winner] - 1e-9
    assert new.scores[loser] <= old.scores[loser] + 1e-9


@pytest.mark.parametrize("confident", [True, False])
def test_arrival_and_reversal_do_not_matter_to_the_full_model(*, confident: bool) -> None:
    data = graded_verdicts(60, 10, seed=6, judges=2, told=confident)
    straight = fit(data, 60)
    shuffled = fit(data.where(np.random.default_rng(1).permutation(len(data))), 60)
    turned = fit(Verdicts(data.first, data.second, 1.0 - data.outcome, data.judge, data.confidence), 60)
    assert [level.used for level in straight.levels] == [confident, confident]
    assert np.abs(shuffled.scores - straight.scores).max() < 1e-9
    assert (turned.scores == -straight.scores).all()
    assert (turned.positions == -straight.positions).all()
    name = np.random.default_rng(3).permutation(60)
    renamed = fit(
        Verdicts(name[data.first], name[data.second], data.outcome, data.judge, data.confidence), 60
    )
    assert np.abs(renamed.scores[name] - straight.scores).max() < 1e-9


# what confidence and slopes are worth


def graded_verdicts(items: int, per_essay: int, *, seed: int, judges: int = 1, told: bool = True) -> Verdicts:
    """A judge sees a difference through logistic noise and states its size in five levels, or any (not `told`)."""
    rng, truth = np.random.default_rng(seed), true_scores(items, seed)
    m = items * per_essay * judges // 2
    first = rng.integers(0, items, m)
    second = (first + rng.integers(1, items, m)) % items
    seen = truth[first] - truth[second] + rng.logistic(size=m)
    level = np.digitize(np.abs(seen), np.quantile(np.abs(seen), (0.2, 0.4, 0.6, 0.8)))
    stated: FloatArray = 0.55 + 0.1 * np.asarray(level if told else rng.integers(0, 5, m), np.float64)
    return Verdicts(first, second, (seen > 0).astype(float), rng.integers(0, judges, m), stated)


def true_scores(items: int, seed: int) -> FloatArray:
    return 1.8 * np.random.default_rng(1000 + seed).standard_normal(items)


def explained(found: Fit, seed: int) -> float:
    return float(np.corrcoef(found.scores, true_scores(len(found.scores), seed))[0, 1] ** 2)


def test_confidence_that_tells_something_is_used_and_saves_calls() -> None:
    fits = [(fit(graded_verdicts(100, 10, seed=seed), 100), seed) for seed in range(3)]
    hard = [(fit(graded_verdicts(100, 10, seed=seed), 100, levels=False), seed) for seed in range(3)]
    assert all(found.levels[0].used for found, _ in fits)
    assert np.mean([explained(*one) for one in fits]) > np.mean([explained(*one) for one in hard]) + 0.06
    assert (np.diff(fits[0][0].levels[0].means) > 0).all()
    assert (
        np.mean([found.reliability for found, _ in fits]) <= np.mean([explained(*one) for one in fits]) + 0.03
    )


def test_confidence_that_is_noise_changes_nothing_and_says_why() -> None:
    data = graded_verdicts(100, 10, seed=1, told=False)
    found, hard = fit(data, 100), fit(data, 100, levels=False)
    assert not found.levels[0].used
    assert "does not foretell" in found.levels[0].reason
    assert (found.scores == hard.scores).all()


def test_too_few_confident_verdicts_or_always_the_same_are_not_tried() -> None:
    few = graded_verdicts(30, 10, seed=1)
    assert fit(few, 30).levels[0].reason == (
        "not used: 150 verdicts with a confidence and a winner, it takes 200"
    )
    same = graded_verdicts(60, 10, seed=1)
    same = Verdicts(same.first, same.second, same.outcome, confidence=np.full(len(same), 0.9))
    assert "always states the same" in fit(same, 60).levels[0].reason


def test_a_dull_judge_beside_a_sharp_one_gets_the_smaller_slope() -> None:
    rng, truth = np.random.default_rng(7), true_scores(100, 7)
    first = rng.integers(0, 100, 800)
    second = (first + rng.integers(1, 100, 800)) % 100
    judge = rng.integers(0, 2, 800)
    gap = np.array([1.0, 0.2])[judge] * (truth[first] - truth[second])
    data = Verdicts(first, second, (rng.random(800) < 1 / (1 + np.exp(-gap))).astype(float), judge)
    pooled, told_apart = fit(data, 100, slopes=False), fit(data, 100)
    assert told_apart.slopes.prod() == pytest.approx(1.0)
    assert 2.5 < told_apart.slopes[0] / told_apart.slopes[1] < 10.0
    assert explained(told_apart, 7) > explained(pooled, 7) + 0.03
