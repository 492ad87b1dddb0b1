import math

import numpy as np
import pytest

from app.cj.statistics.bradley_terry import fit
from app.cj.statistics.split_half import split_by_judges, split_by_verdicts, step_up
from app.cj.statistics.verdicts import Verdicts
from tests.cj.statistics.judging import judged, random_rounds, said, together, truth


def batch(
    seed: int, *, sharpness: float = 1.0, judges: int = 1, rounds: int = 12, items: int = 60
) -> Verdicts:
    rng, scores = np.random.default_rng(seed), truth(items, seed)
    return together(
        *[
            judged(scores, random_rounds(items, rounds, rng), rng, judge=judge, sharpness=sharpness)
            for judge in range(judges)
        ]
    )


def test_spearman_and_brown_step_up_to_twice_the_length() -> None:
    assert step_up(0.5) == pytest.approx(2 / 3)
    assert step_up(1.0) == 1.0
    assert step_up(0.0) == step_up(-0.4) == 0.0


def test_halves_of_honest_verdicts_agree_about_as_much_as_the_fit_says() -> None:
    verdicts = batch(1)
    known = fit(verdicts, 60)
    assert split_by_verdicts(verdicts, known).reliability == pytest.approx(known.reliability, abs=0.06)


def test_halves_of_tossed_coins_do_not_agree() -> None:
    found = []
    for seed in range(6):
        verdicts = batch(seed, sharpness=0.0)
        found.append(split_by_verdicts(verdicts, fit(verdicts, 60), splits=5).reliability)
    assert np.mean(found) <= 0.15


def test_judges_who_see_the_same_scale_agree_and_a_coin_does_not_join_them() -> None:
    two = batch(2, judges=2)
    known = fit(two, 60)
    assert split_by_judges(two, known).reliability > 0.85
    assert split_by_judges(two, known).splits == 1, "two judges can be parted in one way"
    rng = np.random.default_rng(9)
    coin = judged(truth(60, 2), random_rounds(60, 12, rng), rng, judge=1, sharpness=0.0)
    mixed = together(batch(2), coin)
    assert split_by_judges(mixed, fit(mixed, 60)).reliability < 0.3


@pytest.mark.parametrize(("judges", "ways"), [(2, 1), (3, 3), (4, 3), (5, 10)])
def test_judges_are_parted_in_every_way_when_these_are_few(judges: int, ways: int) -> None:
    verdicts = batch(3, judges=judges, rounds=2, items=12)
    assert split_by_judges(verdicts, fit(verdicts, 12)).splits == ways


def test_many_judges_are_parted_as_often_as_asked() -> None:
    verdicts = batch(3, judges=14, rounds=1, items=12)
    assert split_by_judges(verdicts, fit(verdicts, 12), splits=4).splits == 4


def test_the_order_of_arrival_does_not_matter_and_the_seed_does() -> None:
    verdicts = batch(4)
    known = fit(verdicts, 60)
    shuffled = verdicts.where(np.random.default_rng(0).permutation(len(verdicts)))
    assert split_by_verdicts(shuffled, known, splits=3) == split_by_verdicts(verdicts, known, splits=3)
    assert split_by_verdicts(verdicts, known, splits=3, seed=1) != split_by_verdicts(
        verdicts, known, splits=3
    )


@pytest.mark.parametrize(("verdicts", "items"), [(Verdicts.empty(), 1), (said((0, 1, 1.0)), 2)])
def test_nothing_is_claimed_of_too_little(verdicts: Verdicts, items: int) -> None:
    known = fit(verdicts, items)
    for found in (split_by_verdicts(verdicts, known), split_by_judges(verdicts, known)):
        assert found.splits == 0
        assert math.isnan(found.reliability)


def test_one_judge_cannot_be_parted() -> None:
    verdicts = batch(5)
    assert split_by_judges(verdicts, fit(verdicts, 60)).splits == 0


def test_positions_that_were_switched_off_stay_off_in_the_halves() -> None:
    """Winners written first: a position term would take all of it for a leaning to the first."""
    rng = np.random.default_rng(4)
    theta = rng.normal(0.0, 1.8, 20)
    one, other = rng.integers(0, 20, 400), rng.integers(0, 20, 400)
    one, other = one[one != other], other[one != other]
    won = rng.random(len(one)) < 1.0 / (1.0 + np.exp(theta[other] - theta[one]))
    verdicts = Verdicts(np.where(won, one, other), np.where(won, other, one), np.ones(len(one)))
    known = fit(verdicts, 20, position=False)
    assert split_by_verdicts(verdicts, known).reliability == pytest.approx(known.reliability, abs=0.1)
