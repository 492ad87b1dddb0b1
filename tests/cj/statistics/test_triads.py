import itertools

import numpy as np
import pytest

from app.cj.statistics.bradley_terry import fit
from app.cj.statistics.triads import triads
from app.cj.statistics.verdicts import Verdicts
from tests.cj.statistics.fits import fit_of
from tests.cj.statistics.judging import judged, random_rounds, said, truth


@pytest.mark.parametrize(
    ("outcomes", "circular"),
    [(each, int(each in {(1, 1, 0), (0, 0, 1)})) for each in itertools.product((0, 1), repeat=3)],
)
def test_two_of_eight_outcomes_of_three_essays_are_circular(outcomes: tuple[int, ...], circular: int) -> None:
    ab, bc, ac = map(float, outcomes)
    found = triads(said((0, 1, ab), (2, 1, 1.0 - bc), (0, 2, ac)), fit_of([0.0] * 3))
    assert (found.triads, found.circular) == (1, circular)
    assert found.expected == pytest.approx(0.25)
    assert found.by_chance == 0.25


def test_the_fit_expects_fewer_the_wider_the_essays_lie_apart() -> None:
    found = triads(said((0, 1, 1.0), (1, 2, 1.0), (0, 2, 1.0)), fit_of([np.log(3), 0.0, -np.log(3)]))
    # 3:1, 3:1 and 9:1 the one way round, the reverse the other
    assert found.expected == pytest.approx(0.75 * 0.75 * 0.1 + 0.25 * 0.25 * 0.9)


def test_an_evenly_split_pair_decides_nothing_and_a_majority_does() -> None:
    cycle = [(0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0)]
    assert triads(said(*cycle, (2, 0, 0.0)), fit_of([0.0] * 3)).triads == 0
    assert triads(said(*cycle, (2, 0, 0.0), (2, 0, 1.0)), fit_of([0.0] * 3)).circular == 1
    assert triads(said((0, 1, 0.5), *cycle[1:]), fit_of([0.0] * 3)).triads == 0


def test_every_triangle_of_a_tournament_is_counted_once() -> None:
    rows = [(a, b, 1.0) for a, b in itertools.combinations(range(7), 2)]
    found = triads(said(*rows), fit_of([0.0] * 7))
    assert (found.triads, found.circular) == (35, 0)


def test_no_triangles_without_verdicts_or_in_a_chain() -> None:
    assert triads(Verdicts.empty(), fit_of([0.0])).triads == 0
    assert triads(said((0, 1, 1.0), (1, 2, 1.0)), fit_of([0.0] * 3)).triads == 0


def test_relabelling_and_reversing_change_nothing() -> None:
    rng = np.random.default_rng(3)
    verdicts, new = judged(truth(20, 3), random_rounds(20, 12, rng), rng), rng.permutation(20)
    known = fit_of(truth(20, 3).tolist())
    plain = triads(verdicts, known)
    renamed = Verdicts(new[verdicts.first], new[verdicts.second], verdicts.outcome)
    turned = Verdicts(verdicts.first, verdicts.second, 1.0 - verdicts.outcome)
    again = triads(renamed, fit_of(known.scores[np.argsort(new)].tolist()))
    back = triads(turned, fit_of((-known.scores).tolist()))
    for other in (again, back):
        assert (other.triads, other.circular) == (plain.triads, plain.circular)
        assert other.expected == pytest.approx(plain.expected)


def test_a_coin_makes_a_quarter_and_a_judge_what_the_fit_expects() -> None:
    rng, scores = np.random.default_rng(4), truth(60, 4)
    pairs = np.array(list(itertools.combinations(range(60), 2)))[rng.permutation(1770)[:900]]
    coins = judged(scores, pairs, rng, sharpness=0.0)
    tossed = triads(coins, fit(coins, 60))
    assert tossed.circular == pytest.approx(tossed.by_chance, rel=0.1)
    verdicts = judged(scores, pairs, rng)
    found = triads(verdicts, fit(verdicts, 60))
    assert found.circular == pytest.approx(found.expected, rel=0.15)
    assert found.circular < 0.5 * found.by_chance
