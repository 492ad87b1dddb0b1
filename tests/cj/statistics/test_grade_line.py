import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cj.statistics import FloatArray
from app.cj.statistics.grade_line import _Problem, grade_line
from app.cj.statistics.normal import quantiles

SHAPE = np.array([-2.0, -0.5, 0.5, 2.0])  # five grades


def many_anchors(cuts: FloatArray, *, seed: int = 0, count: int = 400) -> tuple[FloatArray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-4.0, 4.0, count)
    return scores, np.digitize(scores + 0.5 * rng.standard_normal(count), cuts).astype(np.int64)


def test_without_anchors_the_population_says_it_all() -> None:
    line = grade_line(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), SHAPE)
    assert line.thresholds == pytest.approx(SHAPE)
    assert line.severity == pytest.approx(0.0)
    assert line.noise == pytest.approx(0.5)
    assert line.threshold_errors.min() > 1.9, "the shift alone is uncertain by 2 logits"


@pytest.mark.parametrize("cuts", [(-2.0, -0.5, 0.5, 2.0), (-1.0, 0.0, 1.5, 2.5), (-3.0, -2.5, -1.0, 0.5)])
def test_many_anchors_find_the_thresholds(cuts: tuple[float, ...]) -> None:
    scores, grades = many_anchors(np.array(cuts))
    line = grade_line(scores, np.zeros(len(scores)), grades, SHAPE)
    assert np.abs(line.thresholds - cuts).max() < 0.25
    assert (np.abs(line.thresholds - cuts) / line.threshold_errors).max() < 3.0
    assert line.noise == pytest.approx(0.5, abs=0.12)
    assert line.severity == pytest.approx(np.mean(cuts) - SHAPE.mean(), abs=0.15)


def test_severity_is_how_far_the_thresholds_lie_above_those_of_the_population() -> None:
    scores, grades = many_anchors(SHAPE + 0.8)
    line = grade_line(scores, np.zeros(len(scores)), grades, SHAPE)
    assert abs(line.severity - 0.8) < 3.0 * line.severity_error < 0.3


def test_uncertain_scores_leave_the_thresholds_uncertain() -> None:
    scores, grades = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.arange(5)
    sure = grade_line(scores, np.full(5, 0.01), grades, SHAPE)
    unsure = grade_line(scores, np.full(5, 2.0), grades, SHAPE)
    assert (unsure.threshold_errors > sure.threshold_errors).all()


def test_an_essay_on_a_threshold_is_as_likely_above_it_as_below() -> None:
    scores, grades = many_anchors(SHAPE)
    line = grade_line(scores, np.zeros(len(scores)), grades, SHAPE)
    (chances,) = line.probabilities(line.thresholds[1:2], np.array([0.3]))
    assert chances[:2].sum() == pytest.approx(0.5, abs=0.02)


def test_a_score_without_error_still_carries_the_uncertainty_of_the_thresholds() -> None:
    line = grade_line(np.array([-1.0, 1.0]), np.zeros(2), np.array([1, 3]), SHAPE)
    (chances,) = line.probabilities(np.zeros(1), np.zeros(1))
    assert 0.3 < chances.max() < 0.98


def test_the_gradient_is_that_of_the_value() -> None:
    rng = np.random.default_rng(2)
    problem = _Problem(rng.normal(size=7), rng.random(7), rng.integers(0, 5, 7), SHAPE)
    point = problem.prior[0] + 0.3 * rng.standard_normal(problem.size)
    steps = 1e-6 * np.eye(problem.size)
    slopes = [(problem.value(point + step) - problem.value(point - step)) / 2e-6 for step in steps]
    assert problem.gradient(point) == pytest.approx(slopes, abs=1e-6)


def test_two_grades_have_one_threshold() -> None:
    line = grade_line(np.array([-1.0, 1.0]), np.full(2, 0.1), np.array([0, 1]), np.zeros(1))
    assert line.thresholds == pytest.approx([0.0], abs=1e-6)
    assert line.probabilities(np.array([3.0]), np.array([0.2]))[0, 1] > 0.9


@settings(max_examples=60, deadline=None)
@given(
    grades=st.integers(2, 9),
    rows=st.lists(st.tuples(st.floats(-8, 8), st.floats(0, 4), st.integers(0, 8)), min_size=0, max_size=12),
)
def test_any_anchors_give_ascending_thresholds_and_probabilities_that_sum_to_one(
    grades: int, rows: list[tuple[float, float, int]]
) -> None:
    shape = 1.5 * quantiles(np.arange(1, grades) / grades)
    scores, variances = (np.array([row[k] for row in rows], float) for k in (0, 1))
    line = grade_line(scores, variances, np.array([row[2] % grades for row in rows], np.int64), shape)
    assert (np.diff(line.thresholds) > 0.0).all()
    assert np.isfinite(line.threshold_errors).all()
    chances = line.probabilities(np.linspace(-40, 40, 9), np.array([0.0, 0.1, 1.0] * 3))
    assert (chances >= 0.0).all()
    assert chances.sum(axis=1) == pytest.approx(np.ones(9))
    assert (np.diff(chances[1::3] @ np.arange(grades)) >= -1e-9).all(), "a higher score, no lower grade"
