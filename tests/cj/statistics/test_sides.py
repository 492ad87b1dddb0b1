import math

import numpy as np
import pytest

from app.cj.statistics.sides import FEWEST_AUDITS, position_biases, shared_position, swap_consistencies
from app.cj.statistics.verdicts import Verdicts
from tests.cj.statistics.fits import fit_of
from tests.cj.statistics.judging import said


def test_position_bias_in_words_that_people_can_check() -> None:
    (bias,) = position_biases(
        said((0, 1, 1.0), (1, 0, 1.0), (0, 1, 0.0)), fit_of([0.0, 0.0], positions=[math.log(3)])
    )
    assert bias.first_wins == pytest.approx(2 / 3)
    assert (bias.low, bias.high) == pytest.approx((math.log(3) - 0.19599640, math.log(3) + 0.19599640))
    assert bias.alarming


def test_a_bias_that_may_be_none_raises_no_alarm() -> None:
    (bias,) = position_biases(said((0, 1, 1.0)), fit_of([0.0, 0.0], positions=[1.4], position_error=0.8))
    assert not bias.alarming


@pytest.mark.parametrize(("estimate", "alarming"), [(0.9, False), (-0.9, False), (0.91, True), (-0.91, True)])
def test_the_alarm_is_beyond_nine_tenths_on_either_side(estimate: float, *, alarming: bool) -> None:
    (bias,) = position_biases(said((0, 1, 1.0)), fit_of([0.0, 0.0], positions=[estimate]))
    assert bias.alarming is alarming


def test_without_verdicts_nobody_won_first() -> None:
    (bias,) = position_biases(Verdicts.empty(), fit_of([0.0]))
    assert bias.verdicts == 0
    assert math.isnan(bias.first_wins)


def test_swapping_the_sides_may_leave_the_winner_or_turn_it() -> None:
    verdicts = said(
        (0, 1, 1.0), (1, 0, 0.0),  # essay 0 both times
        (2, 3, 1.0), (3, 2, 1.0),  # the first both times
        (0, 2, 0.5), (2, 0, 1.0),  # a tie, then essay 2
        (0, 3, 1.0), (0, 3, 1.0),  # not swapped
    )  # fmt: skip
    (found,) = swap_consistencies(verdicts, fit_of([0.0] * 4))
    assert found.audits == 3
    assert found.share == pytest.approx(0.5)
    assert found.expected == pytest.approx(0.5)
    assert not found.alarming, "three audits are too few for an alarm"


def test_audits_are_counted_for_each_judge_alone() -> None:
    found = swap_consistencies(said((0, 1, 1.0, 0), (1, 0, 1.0, 1)), fit_of([0.0, 0.0], positions=[0.0, 0.0]))
    assert [each.audits for each in found] == [0, 0]
    assert math.isnan(found[0].share)
    assert (found[0].low, found[0].high) == (0.0, 1.0)


def test_a_judge_who_always_says_a_contradicts_itself_in_every_audit() -> None:
    pairs = [(k, k + 1) for k in range(FEWEST_AUDITS)]
    verdicts = said(*[(a, b, 1.0) for a, b in pairs], *[(b, a, 1.0) for a, b in pairs])
    (found,) = swap_consistencies(verdicts, fit_of([0.0] * (FEWEST_AUDITS + 1)))
    assert found.share == 0.0
    assert found.alarming


def test_expected_consistency_is_that_of_independent_errors() -> None:
    (found,) = swap_consistencies(said((0, 1, 1.0), (1, 0, 0.0)), fit_of([math.log(3), 0.0]))
    assert found.expected == pytest.approx(0.75**2 + 0.25**2)
    assert np.isclose(found.share, 1.0)


def test_judges_who_share_a_position_are_not_drawn_towards_0_once_each() -> None:
    """The prior N(0, 1) is in each posterior, and counts once."""
    alone = shared_position(np.array([0.4]), np.array([0.3]), prior=True)
    assert alone == pytest.approx((0.4, 0.3))
    together = shared_position(np.array([0.5, 0.5]), np.array([0.5, 0.5]), prior=True)
    assert together == pytest.approx((4.0 / 7.0, 7.0**-0.5))
    without = shared_position(np.array([0.2, 0.8]), np.array([0.5, 0.5]), prior=False)
    assert without == pytest.approx((0.5, 0.5**1.5))
