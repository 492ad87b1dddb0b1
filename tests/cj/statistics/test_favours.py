import math

import numpy as np
import pytest

from app.cj.statistics import FloatArray, NotConverged
from app.cj.statistics.bradley_terry import Fit, fit
from app.cj.statistics.favours import Favours, favours, holm
from app.cj.statistics.verdicts import Verdicts
from tests.cj.statistics.fits import fit_of
from tests.cj.statistics.judging import judged, random_rounds, said, together, truth


def two_judges(seed: int, *, obeyed: int | None = None, items: int = 60) -> tuple[Verdicts, Fit, FloatArray]:
    """Two judges, ten verdicts an essay each; the second lets the essay `obeyed` win always."""
    rng, scores = np.random.default_rng(seed), truth(items, seed)
    honest = judged(scores, random_rounds(items, 10, rng), rng)
    other = judged(scores, random_rounds(items, 10, rng), rng, judge=1)
    if obeyed is not None:
        outcome = np.where(other.first == obeyed, 1.0, np.where(other.second == obeyed, 0.0, other.outcome))
        other = Verdicts(other.first, other.second, outcome, judge=other.judge)
    verdicts = together(honest, other)
    return verdicts, fit(verdicts, items), scores


def rows_of(tests: Favours, rows: np.ndarray) -> list[tuple[int, int]]:
    return [(int(tests.essay[row]), int(tests.judge[row])) for row in rows]


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert holm(np.zeros(0)).size == 0


def test_the_p_value_is_the_tail_of_as_many_wins_with_the_score_of_the_others() -> None:
    # judge 1 sees essay 0 once; by judge 0 it is worth theta with g(theta) = 0, all else at 0
    verdicts = said((0, 1, 1.0, 0), (0, 2, 1.0, 1))
    tests = favours(verdicts, fit_of([0.5, 0.0, 0.0], positions=(0.0, 0.0), sigma=1.0))
    row = rows_of(tests, np.arange(len(tests.essay))).index((0, 1))
    theta = 0.4010581375  # 1 - logistic(theta) = theta
    assert 1.0 - 1.0 / (1.0 + math.exp(-theta)) == pytest.approx(theta)
    curvature = theta * (1.0 - theta) + 1.0
    grid = np.linspace(-8.0, 8.0, 20_001)
    weight = np.exp(-(grid**2) / 2.0)
    chance = 1.0 / (1.0 + np.exp(-(theta + grid / math.sqrt(curvature))))
    assert tests.p_more[row] == pytest.approx(float(weight @ chance / weight.sum()), abs=1e-6)
    assert tests.expected_wins[row] == pytest.approx(tests.p_more[row])
    assert tests.p_less[row] == pytest.approx(1.0)
    assert (tests.wins[row], tests.verdicts[row]) == (1.0, 1)


def test_among_the_verdicts_of_a_sharp_judge_the_score_is_found_too() -> None:
    # judge 0 puts essay 0 midway between two essays at .5 and 1.5; plain Newton goes to and fro around that for ever
    verdicts = said((0, 1, 1.0, 0), (0, 2, 0.0, 0), (0, 3, 1.0, 1))
    sharp = fit_of([0.0, 0.5, 1.5, 0.0], positions=(0.0, 0.0), slopes=(12.0, 0.5), sigma=3.0)
    tests = favours(verdicts, sharp)
    row = rows_of(tests, np.arange(len(tests.essay))).index((0, 1))
    assert tests.expected_wins[row] == pytest.approx(1.0 / (1.0 + math.exp(-0.5)), abs=0.02)


def test_a_score_that_is_not_found_accuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cj.statistics.favours._NEWTON_STEPS", 1)
    with pytest.raises(NotConverged):
        favours(said((0, 1, 1.0, 0), (0, 2, 1.0, 1)), fit_of([0.5, 0.0, 0.0], positions=(0.0, 0.0)))


def test_a_tie_is_rounded_away_from_suspicion() -> None:
    verdicts = said((0, 1, 1.0, 0), (0, 2, 0.5, 1))
    tests = favours(verdicts, fit_of([0.0] * 3, positions=(0.0, 0.0)))
    row = rows_of(tests, np.arange(len(tests.essay))).index((0, 1))
    assert tests.p_more[row] == tests.p_less[row] == pytest.approx(1.0)


def test_with_a_single_judge_or_without_verdicts_nothing_is_claimed() -> None:
    for verdicts, scores in ((Verdicts.empty(), [0.0]), (said((0, 1, 1.0), (1, 0, 0.0)), [1.0, -1.0])):
        tests = favours(verdicts, fit_of(scores))
        assert not tests.essay.size
        assert not tests.favoured.size


@pytest.mark.parametrize("seed", range(3))
def test_an_essay_that_one_judge_obeys_is_found_and_no_other(seed: int) -> None:
    weak = int(np.argsort(truth(60, seed))[8])
    verdicts, known, _ = two_judges(seed, obeyed=weak)
    tests = favours(verdicts, known)
    assert rows_of(tests, tests.favoured) == [(weak, 1)]


def test_honest_judges_are_hardly_ever_accused() -> None:
    found = [favours(*two_judges(seed)[:2]) for seed in range(20, 40)]
    accused = sum(tests.favoured.size > 0 for tests in found)
    assert accused <= 2  # the level is 1 batch in 20
    p_values = np.concatenate([tests.p_more for tests in found])
    assert 0.01 < (p_values <= 0.05).mean() < 0.05, "whole numbers of wins make the test cautious, not bold"


def test_relabelling_the_essays_moves_the_accusation_with_them() -> None:
    verdicts, known, _ = two_judges(1, obeyed=5)
    new = np.random.default_rng(0).permutation(60)
    moved = Verdicts(new[verdicts.first], new[verdicts.second], verdicts.outcome, judge=verdicts.judge)
    plain, renamed = favours(verdicts, known), favours(moved, fit(moved, 60))
    order = np.lexsort((plain.judge, new[plain.essay]))
    assert renamed.essay.tolist() == new[plain.essay][order].tolist()
    assert renamed.p_more == pytest.approx(plain.p_more[order], rel=1e-5, abs=1e-12)
