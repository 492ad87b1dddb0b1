import math

import numpy as np
import pytest

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Fit, Verdicts, fit
from app.cj.statistics.correlation import kendall_tau_b
from app.cj.statistics.pairing import next_pairs
from app.cj.statistics.reliability import SeparationReliability, eb_reliability, separation_reliability
from app.cj.statistics.spread import SpreadSearch


def judged_adaptively(truth: FloatArray, rounds: int, *, seed: int, sharpness: float = 1.0) -> Fit:
    """Four random rounds, then neighbours by score, with a refit after each round."""
    items, rng = len(truth), np.random.default_rng(seed)
    met, outcome = np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    sides, known = np.zeros(items, dtype=np.int64), None
    for done in range(rounds):
        pairs = next_pairs(
            items=items,
            rounds_done=done,
            random_rounds=4,
            scores=None if known is None else known.scores,
            met=met,
            sides=sides,
            rng=rng,
        )
        gap = sharpness * (truth[pairs[:, 0]] - truth[pairs[:, 1]])
        outcome = np.concatenate((outcome, rng.random(len(pairs)) < 1 / (1 + np.exp(-gap))))
        met = np.concatenate((met, pairs))
        sides += np.bincount(pairs[:, 0], minlength=items) - np.bincount(pairs[:, 1], minlength=items)
        known = fit(Verdicts(met[:, 0], met[:, 1], outcome), items, start=known)
    assert known is not None
    return known


def true_scores(items: int, seed: int) -> FloatArray:
    return 1.8 * np.random.default_rng(1000 + seed).standard_normal(items)


def share_explained(found: Fit, truth: FloatArray) -> float:
    return float(np.corrcoef(found.scores, truth)[0, 1] ** 2)


# what the figures say about judges whose truth is known


@pytest.mark.parametrize("items", [30, 100])
def test_a_judge_who_tosses_coins_is_not_called_reliable(items: int) -> None:
    stated = [
        judged_adaptively(true_scores(items, seed), 12, seed=seed, sharpness=0.0).reliability
        for seed in range(12)
    ]
    assert np.mean(stated) <= 0.15


def test_the_coins_would_show_a_hyperprior_that_vouches_for_the_judge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SpreadSearch, "proven_sigma", lambda _, likely: likely)
    stated = [
        judged_adaptively(true_scores(30, seed), 12, seed=seed, sharpness=0.0).reliability
        for seed in range(12)
    ]
    assert np.mean(stated) > 0.15


def test_ten_comparisons_per_essay_recover_the_truth() -> None:
    truths = [true_scores(100, seed) for seed in range(8)]
    fits = [judged_adaptively(truth, 10, seed=seed) for seed, truth in enumerate(truths)]
    assert np.mean([share_explained(*each) for each in zip(fits, truths, strict=True)]) >= 0.78


def test_stated_reliability_and_intervals_are_honest() -> None:
    truths = [true_scores(100, seed) for seed in range(24)]  # coverage is +-.011
    fits = [judged_adaptively(truth, 14, seed=seed) for seed, truth in enumerate(truths)]
    actual = np.mean([share_explained(*each) for each in zip(fits, truths, strict=True)])
    misses = [
        (found.scores - truth + truth.mean()) / found.standard_errors
        for found, truth in zip(fits, truths, strict=True)
    ]
    assert np.mean([found.reliability for found in fits]) <= actual + 0.03
    assert np.mean(np.abs(misses) < 1.96) >= 0.90


# exact small cases


def test_reliability_is_the_share_of_the_spread_explained() -> None:
    # prior variance around the mean of two: 4 * (1 - 1/2) = 2; unexplained: 1
    assert eb_reliability(np.array([1.0, 1.0]), sigma=2.0) == pytest.approx(0.5)


def test_reliability_stays_between_nothing_and_everything() -> None:
    assert eb_reliability(np.array([3.0, 3.0]), sigma=1.0) == 0.0
    assert eb_reliability(np.array([0.0, 0.0]), sigma=1.0) == 1.0
    assert eb_reliability(np.array([0.0]), sigma=1.0) == 0.0


def test_the_two_formulas_of_separation_reliability() -> None:
    # variance of the scores 4, mean squared error 1
    found = separation_reliability(np.array([-2.0, 0.0, 2.0]), np.array([1.0, 1.0, 1.0]))
    assert found.of_true_spread == pytest.approx(0.75)
    assert found.of_observed_spread == pytest.approx(0.8)


def test_separation_reliability_of_too_little_is_nothing() -> None:
    nothing = SeparationReliability(0.0, 0.0)
    assert separation_reliability(np.zeros(1), np.zeros(1)) == nothing
    assert separation_reliability(np.zeros(3), np.zeros(3)) == nothing
    assert separation_reliability(np.array([-0.1, 0.1]), np.ones(2)).of_true_spread == 0.0
    assert math.isnan(separation_reliability(np.array([math.inf, 0.0]), np.ones(2)).of_true_spread)


def test_separation_reliability_praises_a_judge_who_tosses_coins_and_is_a_legacy_figure() -> None:
    tossed = [judged_adaptively(true_scores(30, seed), 12, seed=seed, sharpness=0.0) for seed in range(4)]
    stated = [separation_reliability(each.scores, each.standard_errors) for each in tossed]
    assert np.mean([each.of_observed_spread for each in stated]) > np.mean(
        [each.reliability for each in tossed]
    )


@pytest.mark.parametrize(
    ("x", "y", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3], [1, 3, 2], 1 / 3),
        ([1, 1, 2], [1, 2, 3], 2 / math.sqrt(2 * 3)),
        ([1, 1, 2, 2], [1, 1, 2, 2], 1.0),
        ([12, 2, 1, 12, 2], [1, 4, 7, 1, 0], -0.47140452079103173),
    ],
)
def test_tau_b_of_small_orders(x: list[float], y: list[float], tau: float) -> None:
    assert kendall_tau_b(np.array(x, float), np.array(y, float)) == pytest.approx(tau)


def test_tau_b_is_undefined_without_an_order() -> None:
    assert math.isnan(kendall_tau_b(np.ones(3), np.arange(3.0)))
    assert math.isnan(kendall_tau_b(np.ones(1), np.ones(1)))


def test_tau_b_needs_equally_many_values() -> None:
    with pytest.raises(ValueError, match="3 and 2 values"):
        kendall_tau_b(np.ones(3), np.ones(2))


def test_a_panel_of_coins_is_called_no_more_reliable_for_being_several() -> None:
    """Sharpness fitted to forty verdicts of each would find some of them sharp: the mean was .29."""
    found = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 20, 200)
        second = (first + rng.integers(1, 20, 200)) % 20
        said = Verdicts(first, second, rng.integers(0, 2, 200).astype(float), np.arange(200) % 5)
        found.append(fit(said, 20).reliability)
    assert np.mean(found) < 0.2
