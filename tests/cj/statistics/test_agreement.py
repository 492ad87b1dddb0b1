import math

import pytest

from app.cj.statistics.agreement import Disagreement, agreements, disagreements
from app.cj.statistics.verdicts import Verdicts
from tests.cj.statistics.fits import fit_of
from tests.cj.statistics.judging import said

TWO = (0.0, 0.0)


def test_judges_agree_when_they_name_the_same_winner_on_either_side() -> None:
    verdicts = said(
        (0, 1, 1.0, 0), (1, 0, 0.0, 1),  # both say 0
        (0, 2, 1.0, 0), (0, 2, 0.0, 1),  # not the same
        (1, 2, 0.5, 0), (1, 2, 1.0, 1),  # a tie and a win
        (0, 3, 1.0, 0),  # judged by one only
    )  # fmt: skip
    (found,) = agreements(verdicts, fit_of([0.0] * 4, positions=TWO))
    assert (found.one, found.other, found.pairs) == (0, 1, 3)
    assert found.share == pytest.approx(0.5)
    assert found.low < 0.5 < found.high
    assert found.expected == pytest.approx(0.5)


def test_two_sharp_judges_are_expected_to_agree_on_a_clear_pair() -> None:
    (found,) = agreements(said((0, 1, 1.0, 0), (0, 1, 1.0, 1)), fit_of([math.log(3), 0.0], positions=TWO))
    assert found.expected == pytest.approx(0.75**2 + 0.25**2)


def test_judges_without_a_common_pair_are_named_and_nothing_is_claimed() -> None:
    (found,) = agreements(said((0, 1, 1.0, 0), (0, 2, 1.0, 1)), fit_of([0.0] * 3, positions=TWO))
    assert found.pairs == 0
    assert math.isnan(found.share)
    assert agreements(Verdicts.empty(), fit_of([0.0])) == []


def test_disagreements_come_widest_first_and_say_who_was_for_whom() -> None:
    verdicts = said(
        (0, 1, 1.0, 0), (1, 0, 1.0, 1), (2, 0, 1.0, 0), (2, 0, 0.0, 1), (1, 2, 1.0, 0), (1, 2, 0.5, 1)
    )
    assert disagreements(verdicts, fit_of([0.0, 1.0, 3.0], positions=TWO)) == [
        Disagreement(favourite=2, rival=0, for_it=0, against_it=1, gap=3.0),
        Disagreement(favourite=1, rival=0, for_it=1, against_it=0, gap=1.0),
    ]
