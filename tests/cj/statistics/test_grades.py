import numpy as np
import pytest

from app.cj.statistics import IntArray
from app.cj.statistics.bradley_terry import Fit, fit
from app.cj.statistics.grades import NO_GRADE, Grading, RankingOnly, grade
from app.cj.statistics.verdicts import Verdicts
from benchmarks.statistics.grades import BARS, measure
from tests.cj.statistics.fits import fit_of
from tests.cj.statistics.judging import judged, random_rounds, said, truth

NONE = NO_GRADE


def graded(fit: Fit, anchors: list[int] | IntArray, *, grades: int = 3) -> Grading:
    found = grade(fit, np.array(anchors, np.int64), grades=grades)
    assert isinstance(found, Grading), found
    return found


def refused(fit: Fit, anchors: list[int] | IntArray, *, grades: int = 3) -> str:
    found = grade(fit, np.array(anchors, np.int64), grades=grades)
    assert isinstance(found, RankingOnly)
    return found.reason


def test_an_essay_between_two_anchors_gets_the_grade_between_them() -> None:
    found = graded(fit_of([-2.0, -2.1, 0.0, 2.0, 2.1], errors=0.3), [0, NONE, NONE, 2, NONE])
    assert found.likeliest.tolist() == [0, 0, 1, 2, 2]
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(5))
    assert found.anchored == (True, False, True)
    assert not found.inversions


def test_uncertain_scores_spread_over_the_grades() -> None:
    scores, anchors = [-2.0, 0.0, 2.0, 0.0], [0, 1, 2, NONE]
    sure, unsure = (graded(fit_of(scores, errors=se), anchors).probabilities[3].max() for se in (0.2, 1.5))
    assert sure > unsure + 0.2


def test_shares_of_the_population_say_how_wide_a_grade_is_where_no_anchor_does() -> None:
    known, anchors = fit_of([-1.5, 1.5, 0.0], errors=0.3), np.array([0, 2, NONE])
    wide = grade(known, anchors, grades=3, shares=np.array([0.1, 0.8, 0.1]))
    narrow = grade(known, anchors, grades=3, shares=np.array([0.45, 0.1, 0.45]))
    assert isinstance(wide, Grading)
    assert isinstance(narrow, Grading)
    assert wide.probabilities[2, 1] > narrow.probabilities[2, 1] + 0.2


@pytest.mark.parametrize(
    ("anchors", "words"),
    [
        ([NONE, NONE, NONE], "no essay among these has a known grade"),
        ([1, NONE, 1], "all anchors have the same grade"),
        ([2, NONE, 0], "do not rise with their grades"),
    ],
)
def test_a_ranking_without_grades_says_why(anchors: list[int], words: str) -> None:
    reason = refused(fit_of([-1.0, 0.0, 1.0]), anchors)
    assert reason.startswith("Ranking, not grades: ")
    assert words in reason


def test_anchors_on_islands_of_their_own_carry_no_grades() -> None:
    known = fit_of([-1.0, 1.0, -1.0, 1.0], islands=[0, 0, 1, 1])
    assert "2 groups of essays apart" in refused(known, [0, NONE, NONE, 2])
    assert "same grade" in refused(known, [1, NONE, NONE, 1])


def test_each_island_is_graded_by_its_own_anchors_or_not_at_all() -> None:
    known = fit_of([-1.0, 1.0, 0.0, -1.0, 1.0], errors=0.3, islands=[0, 0, 0, 1, 1])
    found = graded(known, [0, 2, NONE, 1, NONE])
    assert list(found.lines) == [0]
    assert "one anchor" in found.ungraded[1].reason
    assert found.likeliest.tolist() == [0, 2, 1, NONE, NONE]
    assert np.isnan(found.probabilities[3:]).all()


def test_anchors_that_contradict_each_other_are_named_beyond_two_standard_errors() -> None:
    # SE .5 each: a gap of 2 is 2.83 SE of the difference, one of 1.2 is 1.70
    known = fit_of([2.0, 0.0, 0.8, -1.3, -4.0, -5.0, 5.0, 6.0], errors=0.5)
    found = graded(known, [0, 1, 1, 2, 0, 0, 2, 2])
    assert [(each.higher_graded, each.lower_graded) for each in found.inversions] == [(3, 0), (3, 2), (1, 0)]
    assert [each.gap for each in found.inversions] == pytest.approx([3.3, 2.1, 2.0])
    assert found.inversions[2].z == pytest.approx(2.0 / np.sqrt(0.5))


def test_reversing_scores_and_grades_reverses_the_probabilities() -> None:
    scores, anchors = np.array([-2.0, -0.7, 0.3, 1.4, 1.0]), np.array([0, NONE, 1, 3, NONE])
    plain = graded(fit_of(scores.tolist()), anchors, grades=4)
    turned = graded(fit_of((-scores).tolist()), np.where(anchors == NONE, NONE, 3 - anchors), grades=4)
    assert turned.probabilities[:, ::-1] == pytest.approx(plain.probabilities, abs=1e-3)


def test_relabelling_the_essays_relabels_their_grades() -> None:
    scores, anchors = np.array([-2.0, -0.7, 0.3, 1.4, 1.0]), np.array([0, NONE, 1, 2, NONE])
    new = np.array([3, 0, 4, 1, 2])
    plain, moved = (
        graded(fit_of(scores.tolist()), anchors),
        graded(fit_of(scores[new].tolist()), anchors[new]),
    )
    assert moved.probabilities == pytest.approx(plain.probabilities[new], abs=1e-9)


def test_anchors_that_stand_upside_down_carry_no_grades_and_are_named() -> None:
    known = fit_of([-3.0, -1.0, 0.0, 1.0, 3.0], errors=0.3)
    found = grade(known, np.array([2, NONE, 1, NONE, 0]), grades=3)
    assert isinstance(found, RankingOnly)
    assert "do not rise" in found.reason
    assert [(one.higher_graded, one.lower_graded) for one in found.inversions] == [(0, 4), (0, 2), (2, 4)]


def test_one_essay_and_no_verdicts_are_a_ranking() -> None:
    assert "no essay" in refused(fit(Verdicts.empty(), 1), [NONE])
    assert "one anchor" in refused(fit(Verdicts.empty(), 1), [1])
    assert "3 groups" in refused(fit(Verdicts.empty(), 3), [0, 1, 2])


def test_a_judge_who_tosses_coins_gives_no_sure_grades() -> None:
    rng, items = np.random.default_rng(4), 42
    scores = truth(items, 4)
    verdicts = judged(scores, random_rounds(items, 16, rng), rng, sharpness=0.0)
    anchors = np.where(np.arange(items) < 30, NONE, np.digitize(scores, [-1.0, 1.0]))
    found = grade(fit(verdicts, items), anchors.astype(np.int64), grades=3)
    assert isinstance(found, RankingOnly) or found.probabilities[:30].max() < 0.8


@pytest.mark.parametrize(
    ("anchors", "grades", "shares", "words"),
    [
        ([0, 1], 3, None, "for 2 essays, scores for 3"),
        ([0, 1, 3], 3, None, "numbered 0 to 2"),
        ([0, 0, 0], 1, None, "at least two grades"),
        ([0, 1, 2], 3, [0.5, 0.5], "3 positive numbers"),
        ([0, 1, 2], 3, [0.5, 0.5, 0.0], "3 positive numbers"),
        ([0, 1, 2], 3, [0.5, 0.3, 0.1], "sum 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    anchors: list[int], grades: int, shares: list[float] | None, words: str
) -> None:
    given = None if shares is None else np.array(shares)
    with pytest.raises(ValueError, match=words):
        grade(fit_of([0.0, 1.0, 2.0]), np.array(anchors), grades=grades, shares=given)


def test_grades_need_a_prior() -> None:
    with pytest.raises(ValueError, match="with a prior"):
        grade(fit_of([0.0, 1.0], sigma=np.inf), np.array([0, 1]), grades=2)


def test_grades_of_a_real_fit_rise_with_the_scores() -> None:
    found = graded(fit(said((1, 0, 1.0), (2, 1, 1.0), (2, 0, 1.0), (3, 2, 1.0)), 4), [0, NONE, NONE, 2])
    assert (np.diff(found.probabilities @ np.arange(3)) > 0.0).all()


def test_grades_in_simulation_are_right_as_often_as_they_say() -> None:
    found = measure(1, batches=12)
    # over twelve batches the standard error of `exact` is .03, of `within_one` .01: three of them below the bars
    assert found["exact"] >= BARS["exact"] - 0.09
    assert found["within_one"] >= BARS["within_one"] - 0.03
    assert found["overstated"] <= BARS["overstated"] + 0.03
    assert found["refused"] == 0
