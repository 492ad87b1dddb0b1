import math

import numpy as np
import pytest

from app.cj.statistics.bradley_terry import fit
from app.cj.statistics.expected import deleted, expected
from app.cj.statistics.fit_statistics import essay_fit, judge_fit
from app.cj.statistics.verdicts import Verdicts
from tests.cj.statistics.fits import fit_of
from tests.cj.statistics.judging import judged, random_rounds, said, together, truth

LOG3 = math.log(3.0)  # one wins 3 times in 4


def test_slope_and_position_enter_the_chance() -> None:
    known = expected(
        said((0, 1, 1.0, 0), (1, 0, 1.0, 0), (0, 1, 1.0, 1)),
        fit_of([LOG3 / 2, -LOG3 / 2], positions=[LOG3, 0.0], slopes=[1.0, 2.0]),
    )
    assert known.chance == pytest.approx([0.9, 0.5, 0.9])
    assert known.residual == pytest.approx([0.1, 0.5, 0.1])
    assert known.weight == pytest.approx([0.09, 0.25, 0.09])


def test_a_verdict_is_compared_with_what_the_others_say() -> None:
    verdicts, scores = said((0, 1, 1.0)), [LOG3 / 2, -LOG3 / 2]
    known = deleted(verdicts, fit_of(scores, errors=1.0))
    kept = 1.0 - 2.0 * 3.0 / 16.0  # V = 2, w = 3/16
    moved = LOG3 - 2.0 * 0.25 / kept
    assert known.chance == pytest.approx(
        1.0 / (1.0 + math.exp(-moved / math.sqrt(1.0 + math.pi / 8.0 * 2.0 / kept)))
    )
    assert deleted(verdicts, fit_of(scores, errors=0.0)).chance == pytest.approx([0.75])


def test_infinite_scores_make_a_verdict_certain() -> None:
    known = expected(said((0, 1, 1.0), (1, 0, 1.0)), fit_of([math.inf, 0.0]))
    assert known.chance.tolist() == [1.0, 0.0]
    assert known.weight.tolist() == [0.0, 0.0]


def test_mean_squares_by_hand() -> None:
    # essay 0 beats 1 at 3:1 as expected (r^2 = 1/16), and loses once to it (9/16); w = 3/16 each
    found = essay_fit(said((0, 1, 1.0), (0, 1, 0.0)), fit_of([LOG3 / 2, -LOG3 / 2], errors=0.0))
    assert found.infit == pytest.approx([10 / 6, 10 / 6])
    assert found.outfit == pytest.approx([(1 / 3 + 3) / 2] * 2)
    assert found.verdicts.tolist() == [2, 2]
    assert found.agreement == pytest.approx([0.5, 0.5])
    assert found.expected_agreement == pytest.approx([0.75, 0.75])
    spread = math.sqrt(2 * (3 / 16 - 4 * 9 / 256)) / (6 / 16)
    assert found.infit_z == pytest.approx([((10 / 6) ** (1 / 3) - 1) * 3 / spread + spread / 3] * 2)


def test_infit_weighs_close_pairs_and_outfit_is_moved_by_one_upset() -> None:
    scores = [4.0, -4.0, 0.0, 0.0]
    found = essay_fit(said((0, 1, 0.0), *[(0, k, 1.0) for k in (2, 3)]), fit_of(scores, errors=0.0))
    assert found.outfit[0] > 5 * found.infit[0]


def test_between_equals_every_verdict_fits_exactly() -> None:
    found = essay_fit(said((0, 1, 1.0), (1, 0, 1.0)), fit_of([0.0, 0.0], errors=0.0))
    assert found.infit.tolist() == found.outfit.tolist() == [1.0, 1.0]
    assert found.infit_z.tolist() == [0.0, 0.0]
    assert not found.misfits.size


def test_nothing_is_said_without_verdicts() -> None:
    for verdicts, scores in ((Verdicts.empty(), [0.0]), (said((0, 1, 1.0)), [0.0, 0.0, 0.0])):
        found = essay_fit(verdicts, fit_of(scores))
        for figure in (found.infit, found.outfit, found.infit_z, found.agreement):
            assert math.isnan(figure[-1])
        assert not found.misfits.size
    assert math.isnan(judge_fit(Verdicts.empty(), fit_of([0.0])).infit[0])


def test_by_chance_hardly_any_essay_misfits() -> None:
    rng, scores = np.random.default_rng(5), truth(200, 5)
    verdicts = judged(scores, random_rounds(200, 12, rng), rng)
    found = essay_fit(verdicts, fit(verdicts, 200))
    assert 0.9 < found.infit.mean() < 1.1
    assert abs(found.infit_z.mean()) < 0.2
    assert 0.8 < found.infit_z.std() < 1.2
    assert len(found.misfits) <= 3


def test_a_careless_judge_among_careful_ones_misfits() -> None:
    rng, scores = np.random.default_rng(6), truth(60, 6)
    careful = [judged(scores, random_rounds(60, 8, rng), rng, judge=judge) for judge in (0, 1)]
    careless = judged(scores, random_rounds(60, 8, rng), rng, judge=2, sharpness=0.0)
    verdicts = together(*careful, careless)
    found = judge_fit(verdicts, fit(verdicts, 60, slopes=False))
    assert found.misfits.tolist() == [2]
    assert found.agreement[2] < 0.65 < found.agreement[:2].min()


def test_an_essay_that_judges_see_differently_each_time_misfits() -> None:
    rng, scores = np.random.default_rng(7), truth(60, 7)
    verdicts = judged(scores, random_rounds(60, 14, rng), rng)
    odd = int(np.argsort(scores)[-3])  # wins what it should lose, loses what it should win
    touched = (verdicts.first == odd) | (verdicts.second == odd)
    other = np.where(verdicts.first == odd, verdicts.second, verdicts.first)
    odd_won = (np.argsort(np.argsort(scores))[other] > 30).astype(float)
    outcome = np.where(touched, np.where(verdicts.first == odd, odd_won, 1.0 - odd_won), verdicts.outcome)
    verdicts = Verdicts(verdicts.first, verdicts.second, outcome)
    assert essay_fit(verdicts, fit(verdicts, 60)).misfits[0] == odd
