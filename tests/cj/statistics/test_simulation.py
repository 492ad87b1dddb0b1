"""Rehearsals: what judges, policies and courses promise."""

from __future__ import annotations

import numpy as np
import pytest

from app.cj.statistics.simulation.course import Scene, rehearse, squared_correlation
from app.cj.statistics.simulation.curves import average
from app.cj.statistics.simulation.judging import Confidence, JudgeProfile, Panel
from app.cj.statistics.simulation.policies import Policy, choose
from app.cj.statistics.verdicts import Verdicts

ALL_PAIRS = np.array([(a, b) for a in range(12) for b in range(12) if a != b])


def panel(*judges: JudgeProfile, items: int = 12, seed: int = 3) -> Panel:
    truth = np.linspace(-2.0, 2.0, items)
    return Panel(truth, judges, np.random.default_rng(seed))


def test_the_same_seed_gives_the_same_rehearsal_to_the_last_bit() -> None:
    scene = Scene(items=12, rounds=5, judges=(JudgeProfile(confidence=Confidence.GRADED, pair_noise=0.5),))
    one, other = rehearse(scene, 4), rehearse(scene, 4)
    assert np.array_equal(one.last.scores, other.last.scores)
    assert not np.array_equal(one.last.scores, rehearse(scene, 5).last.scores)


def test_policies_meet_the_same_items() -> None:
    truths = [rehearse(Scene(items=9, rounds=2, policy=policy), 4).truth for policy in Policy]
    assert all(np.array_equal(truths[0], truth) for truth in truths)


def test_noise_fixed_by_the_pair_gives_the_same_answer_again_and_the_mirrored_one_when_swapped() -> None:
    judge = panel(JudgeProfile(pair_noise=1.0))
    first, again = judge.judge(ALL_PAIRS), judge.judge(ALL_PAIRS)
    assert np.array_equal(first.outcome, again.outcome)
    assert np.array_equal(judge.judge(ALL_PAIRS[:, ::-1]).outcome, 1.0 - first.outcome)


def test_noise_that_is_drawn_anew_does_not() -> None:
    judge = panel(JudgeProfile())
    assert not np.array_equal(judge.judge(ALL_PAIRS).outcome, judge.judge(ALL_PAIRS).outcome)


def test_a_bias_favours_whoever_is_shown_first_and_a_coin_knows_nothing() -> None:
    many = np.repeat(ALL_PAIRS, 40, axis=0)
    biased = panel(JudgeProfile(bias=1.0, sharpness=0.0)).judge(many).outcome.mean()
    assert biased == pytest.approx(1 / (1 + np.exp(-1)), abs=0.02)
    coin = panel(JudgeProfile(sharpness=0.0)).judge(many)
    better = (coin.first > coin.second) == (coin.outcome > 0.5)
    assert better.mean() == pytest.approx(0.5, abs=0.02)


def test_graded_confidence_has_five_levels_that_say_how_often_the_judge_is_right() -> None:
    judge = panel(JudgeProfile(confidence=Confidence.GRADED), items=200)
    pairs = np.random.default_rng(1).integers(0, 200, (20_000, 2))
    found = judge.judge(pairs[pairs[:, 0] != pairs[:, 1]])
    right = (found.first > found.second) == (found.outcome > 0.5)
    levels = np.unique(found.confidence)
    assert levels.tolist() == [0.1, 0.3, 0.5, 0.7, 0.9]
    shares = [right[found.confidence == level].mean() for level in levels]
    assert shares == sorted(shares)
    assert shares[-1] - shares[0] > 0.3


def test_confidence_that_is_noise_says_nothing() -> None:
    found = panel(JudgeProfile(confidence=Confidence.NOISE)).judge(np.repeat(ALL_PAIRS, 100, axis=0))
    right = (found.first > found.second) == (found.outcome > 0.5)
    shares = [right[found.confidence == level].mean() for level in np.unique(found.confidence)]
    assert max(shares) - min(shares) < 0.05


def test_several_judges_share_the_pairs_evenly() -> None:
    judge = panel(JudgeProfile(), JudgeProfile(bias=1.0), JudgeProfile(sharpness=0.5))
    asked = np.concatenate([judge.judge(ALL_PAIRS[:7]).judge for _ in range(30)])
    counts = np.bincount(asked)
    assert len(counts) == 3
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("policy", [Policy.BALANCED, Policy.SWISS, Policy.OURS])
def test_a_round_shows_each_item_once_and_no_pair_twice(policy: Policy) -> None:
    course = rehearse(Scene(items=16, rounds=8, policy=policy), 2)
    pairs = np.sort(np.stack((course.verdicts.first, course.verdicts.second), axis=1), axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs) == 8 * 8
    assert set(course.verdicts.count(16).tolist()) == {8}


def test_random_pairs_never_pair_an_item_with_itself() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        pairs = choose(
            Policy.RANDOM,
            items=3,
            rounds_done=0,
            random_rounds=1,
            scores=None,
            known=Verdicts.empty(),
            planned=np.zeros((0, 2), np.int64),
            rng=rng,
        )
        assert (pairs[:, 0] != pairs[:, 1]).all()


def test_a_course_ends_when_every_pair_has_been_asked() -> None:
    course = rehearse(Scene(items=5, rounds=40, policy=Policy.BALANCED), 1)
    assert len(course.verdicts) == 10


def test_more_comparisons_bring_the_scores_nearer_to_the_truth() -> None:
    curves = average(Scene(items=30, rounds=16), seed=1, repetitions=4)
    assert curves.r2[-1] > curves.r2[3] > curves.r2[0]
    needed = curves.needed(0.75)
    assert needed is not None
    assert curves.at(needed) == pytest.approx(0.75)
    assert curves.needed(0.999) is None
    assert curves.at(17) is None


def test_correlation_with_something_that_does_not_vary_is_none() -> None:
    assert squared_correlation(np.ones(3), np.arange(3.0)) == 0.0


def test_a_panel_needs_items_and_judges() -> None:
    with pytest.raises(ValueError, match="2 to 2000 items"):
        Panel(np.zeros(1), (JudgeProfile(),), np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one judge"):
        Panel(np.zeros(2), (), np.random.default_rng(0))
