import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cj.statistics import FloatArray, NotConverged, information, posterior, spread
from app.cj.statistics.bradley_terry import Fit, Verdicts, fit
from app.cj.statistics.graph import islands
from app.cj.statistics.spread import TYPICAL_SIGMA


def verdicts(*rows: tuple[int, int, float]) -> Verdicts:
    table = np.array(rows, dtype=float).reshape(-1, 3)
    return Verdicts(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2])


def judged(items: int, per_essay: int, *, seed: int = 1, sd: float = 1.8) -> Verdicts:
    """Verdicts of a Bradley-Terry judge on random pairs."""
    rng = np.random.default_rng(seed)
    truth, pairs = sd * rng.standard_normal(items), items * per_essay // 2
    first = rng.integers(0, items, pairs)
    second = (first + rng.integers(1, items, pairs)) % items
    won = rng.random(pairs) < 1 / (1 + np.exp(truth[second] - truth[first]))
    return Verdicts(first, second, won.astype(float))


def with_judges(given: Verdicts, judges: int, *, seed: int) -> Verdicts:
    """The same verdicts dealt to several judges."""
    judge = np.random.default_rng(seed).integers(0, judges, len(given))
    return Verdicts(given.first, given.second, given.outcome, judge)


def newton_in_full(
    given: Verdicts, items: int, sigma: float, *, position: bool = True, slopes: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Plain Newton with dense algebra, verdict by verdict: scores, then positions; and the inverse of the Hessian."""
    m, judges = len(given), given.judges if position else 0
    sharpness = np.ones(m) if slopes is None else slopes[given.judge]
    design, prior = np.zeros((m, items + judges)), np.zeros(items + judges)
    design[np.arange(m), given.first] = sharpness
    design[np.arange(m), given.second] = -sharpness
    prior[:items] = sigma**-2
    if position:
        design[np.arange(m), items + given.judge] = 1.0
        prior[items:] = float(math.isfinite(sigma))
    ground = np.zeros((items + judges, items + judges))
    ground[:items, :items] = 0.0 if math.isfinite(sigma) else 1.0 / items  # the mean, which no verdict moves
    state = np.zeros(items + judges)
    inverse = np.eye(items + judges)
    for _ in range(200):
        chance = 1 / (1 + np.exp(-design @ state))
        gradient = design.T @ (given.outcome - chance) - prior * state
        hessian = design.T @ (design * (chance * (1 - chance))[:, None]) + np.diag(prior) + ground
        inverse = np.linalg.inv(hessian).astype(np.float64)
        step = inverse @ gradient
        state = state + step * min(1.0, 2.0 / max(1e-300, np.abs(step).max()))
        if np.abs(step).max() < 1e-13:
            break
    return state, inverse


def log_likelihood(given: Verdicts, scores: FloatArray, position: float) -> float:
    gap = scores[given.first] - scores[given.second] + position
    return float(-given.outcome @ np.logaddexp(0, -gap) - (1 - given.outcome) @ np.logaddexp(0, gap))


def log_posterior(given: Verdicts, state: FloatArray, sigma: float) -> float:
    scores, position = state[:-1], state[-1]
    return log_likelihood(given, scores, position) - float(scores @ scores / sigma**2 + position**2) / 2


def assert_sound(found: Fit, items: int) -> None:
    assert found.scores.shape == found.standard_errors.shape == (items,)
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.standard_errors).all()
    assert abs(found.scores.mean()) < 1e-12
    assert found.sigma > 0
    assert 0 <= found.reliability <= 1


# exactness


@pytest.mark.parametrize(("items", "per_essay", "sigma"), [(5, 8, 1.0), (40, 3, 1.8), (80, 15, 3.0)])
def test_scores_and_errors_are_those_of_a_plain_dense_newton(
    items: int, per_essay: int, sigma: float
) -> None:
    given = judged(items, per_essay)
    state, inverse = newton_in_full(given, items, sigma)
    centring = np.eye(items) - 1 / items
    found = fit(given, items, sigma=sigma)
    spread = np.diag(centring @ inverse[:items, :items] @ centring)
    assert np.abs(found.scores - state[:items]).max() < 1e-9
    assert np.abs(found.standard_errors**2 - spread).max() < 1e-9
    assert abs(found.positions[0] - state[items]) < 1e-9
    assert abs(found.position_errors[0] ** 2 - inverse[items, items]) < 1e-9
    reached = np.concatenate((found.scores, found.positions))
    assert abs(log_posterior(given, state, sigma) - log_posterior(given, reached, sigma)) < 1e-8


@pytest.mark.parametrize("position", [True, False])
def test_two_judges_have_a_position_each(*, position: bool) -> None:
    given = with_judges(judged(30, 20), 2, seed=4)
    state, inverse = newton_in_full(given, 30, 1.5, position=position)
    found = fit(given, 30, sigma=1.5, position=position, slopes=False)
    assert np.abs(found.scores - state[:30]).max() < 1e-9
    centring = np.eye(30) - 1 / 30
    spread = np.diag(centring @ inverse[:30, :30] @ centring)
    assert np.abs(found.standard_errors**2 - spread).max() < 1e-9
    expected = state[30:] if position else np.zeros(2)
    assert np.abs(found.positions - expected).max() < 1e-9
    if position:
        assert np.abs(found.position_errors**2 - np.diag(inverse)[30:]).max() < 1e-9


def test_the_mean_of_a_position_lies_beyond_its_mode_by_the_skewness_of_the_posterior() -> None:
    """Half the inverse information times the third derivatives, each with the variance of its gap."""
    items, sigma = 40, 1.8
    given = judged(items, 12)
    state, inverse = newton_in_full(given, items, sigma)
    first, second = given.first, given.second
    chance = 1 / (1 + np.exp(state[second] - state[first] - state[items]))
    third = -chance * (1 - chance) * (1 - 2 * chance)
    design = np.zeros((len(given), items + 1))
    design[np.arange(len(given)), first], design[np.arange(len(given)), second] = 1.0, -1.0
    design[:, items] = 1.0
    variance = np.einsum("mi,ij,mj->m", design, inverse, design)
    pull = design.T @ (third * variance / 2)
    found = fit(given, items, sigma=sigma)
    assert found.position_means[0] == pytest.approx(state[items] + inverse[items] @ pull, abs=1e-9)


def test_a_position_is_told_without_the_shrinkage_of_the_scores() -> None:
    """Forty batches: the interval of the mean holds the truth as often as it says, the mode lies too low."""
    bias, modes, means, held = 0.9, [], [], 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth = 1.8 * rng.standard_normal(50)
        first = np.tile(np.arange(50), 10)
        second = (first + rng.integers(1, 50, len(first))) % 50
        won = rng.random(len(first)) < 1 / (1 + np.exp(truth[second] - truth[first] - bias))
        found = fit(Verdicts(first, second, won.astype(float)), 50)
        modes.append(found.positions[0])
        means.append(found.position_means[0])
        held += abs(means[-1] - bias) <= 1.96 * found.position_errors[0]
    assert held >= 36
    assert np.mean(modes) < 0.85
    assert abs(np.mean(means) - bias) < 0.05


def test_the_gradient_vanishes_at_the_scores() -> None:
    given = judged(60, 10)
    scores = fit(given, 60, sigma=1.5, position=False).scores
    surprise = given.outcome - 1 / (1 + np.exp(scores[given.second] - scores[given.first]))
    won = np.bincount(given.first, surprise, 60) - np.bincount(given.second, surprise, 60)
    assert np.abs(won - scores / 1.5**2).max() < 1e-10


def test_sigma_maximises_the_laplace_evidence() -> None:
    given, items = judged(40, 10), 40

    def evidence(log_sigma: float) -> float:
        sigma = math.exp(log_sigma)
        scores, inverse = newton_in_full(given, items, sigma)
        hyperprior = ((log_sigma - math.log(1.3)) / 0.6) ** 2 / 2
        return float(
            log_posterior(given, scores, sigma)
            - items * log_sigma
            + np.linalg.slogdet(inverse)[1] / 2
            - hyperprior
        )

    best = math.log(fit(given, items).sigma)
    assert evidence(best) > max(evidence(best - 0.01), evidence(best + 0.01))


def test_sigma_recovers_the_spread_of_the_true_scores() -> None:
    spread = [fit(judged(200, 20, seed=seed, sd=1.8), 200).sigma for seed in range(4)]
    assert 1.6 < np.mean(spread) < 1.95


def test_estimates_above_the_exact_limit_stay_close_to_the_exact_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, items = judged(1500, 12), 1500
    exact = fit(given, items)
    monkeypatch.setattr(information, "EXACT_ITEMS", 100)
    estimated = fit(given, items)
    assert math.isclose(estimated.sigma, exact.sigma, rel_tol=3e-3)
    assert abs(estimated.reliability - exact.reliability) < 2e-3
    assert np.median(np.abs(estimated.standard_errors / exact.standard_errors - 1)) < 0.01
    assert np.abs(estimated.standard_errors / exact.standard_errors - 1).max() < 0.1


def test_two_separate_halves_above_the_exact_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    one = judged(300, 10)
    given = Verdicts(
        np.concatenate((one.first, one.first + 300)),
        np.concatenate((one.second, one.second + 300)),
        np.concatenate((one.outcome, one.outcome)),
    )
    exact = fit(given, 601, sigma=1.8)
    monkeypatch.setattr(information, "EXACT_ITEMS", 100)
    estimated = fit(given, 601, sigma=1.8)
    assert np.abs(estimated.standard_errors / exact.standard_errors - 1).max() < 0.1


# the same verdicts give the same scores


@given(st.randoms(use_true_random=False), st.integers(2, 25), st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_the_order_of_verdicts_does_not_matter(random: object, items: int, m: int) -> None:
    rng = np.random.default_rng(random.randint(0, 2**32))  # type: ignore[attr-defined]
    first = rng.integers(0, items, m)
    second = (first + rng.integers(1, items, m)) % items
    outcome = rng.choice((0.0, 0.5, 1.0, 0.3), m)
    shuffle = rng.permutation(m)
    straight = fit(Verdicts(first, second, outcome), items)
    mixed = fit(Verdicts(first[shuffle], second[shuffle], outcome[shuffle]), items)
    assert np.abs(straight.scores - mixed.scores).max() < 1e-9
    assert np.abs(straight.standard_errors - mixed.standard_errors).max() < 1e-9


@pytest.mark.parametrize("judges", [1, 3])
def test_swapping_sides_turns_positions_round_and_reversing_all_verdicts_turns_everything_round_exactly(
    judges: int,
) -> None:
    given = with_judges(judged(50, 9), judges, seed=2)
    straight = fit(given, 50)
    swapped = fit(Verdicts(given.second, given.first, 1 - given.outcome, given.judge), 50)
    reversed_ = fit(Verdicts(given.first, given.second, 1 - given.outcome, given.judge), 50)
    assert (swapped.scores == straight.scores).all()
    assert (swapped.positions == -straight.positions).all()
    assert (reversed_.scores == -straight.scores).all()
    assert (reversed_.positions == -straight.positions).all()
    assert (reversed_.slopes == straight.slopes).all()
    assert (reversed_.standard_errors == straight.standard_errors).all()
    assert reversed_.sigma == straight.sigma


def test_relabelling_items_relabels_the_scores() -> None:
    given, name = judged(50, 9), np.random.default_rng(3).permutation(50)
    straight, renamed = (
        fit(given, 50),
        fit(Verdicts(name[given.first], name[given.second], given.outcome), 50),
    )
    assert np.abs(renamed.scores[name] - straight.scores).max() < 1e-10
    assert np.abs(renamed.standard_errors[name] - straight.standard_errors).max() < 1e-10


@pytest.mark.parametrize("items", [40, 2500])
def test_a_warm_start_saves_steps_and_not_accuracy(items: int) -> None:
    given = judged(items, 12)
    before = len(given) - items // 2
    earlier = fit(Verdicts(given.first[:before], given.second[:before], given.outcome[:before]), items)
    cold, warm = fit(given, items), fit(given, items, start=earlier)
    assert warm.iterations < cold.iterations
    assert math.isclose(warm.sigma, cold.sigma, rel_tol=1e-9)
    assert np.abs(warm.scores - cold.scores).max() < 1e-9


# awkward inputs


@pytest.mark.parametrize("items", [1, 2, 30])
def test_without_verdicts_the_prior_speaks(items: int) -> None:
    found = fit(Verdicts.empty(), items)
    assert_sound(found, items)
    assert not found.scores.any()
    assert math.isclose(found.sigma, TYPICAL_SIGMA)
    assert np.allclose(found.standard_errors, TYPICAL_SIGMA * math.sqrt(1 - 1 / items), atol=1e-7)
    assert found.reliability < 1e-9


def test_two_essays_and_one_verdict_lean_towards_the_winner() -> None:
    found = fit(verdicts((0, 1, 1.0)), 2)
    assert_sound(found, 2)
    assert 0 < found.scores[0] == -found.scores[1] < 1
    assert found.standard_errors[0] == pytest.approx(found.standard_errors[1])


def test_undefeated_and_winless_essays_stay_finite_and_uncertain() -> None:
    given = judged(20, 12)
    best = np.where((given.first == 0) | (given.second == 1), 1.0, given.outcome)
    best = np.where((given.second == 0) | (given.first == 1), 0.0, best)
    found = fit(Verdicts(given.first, given.second, best), 20)
    assert_sound(found, 20)
    assert found.scores.argmax() == 0
    assert found.scores.argmin() == 1
    assert found.standard_errors[:2].min() > np.median(found.standard_errors)


def test_a_perfect_order_is_kept() -> None:
    pairs = ((i, j) for i in range(30) for j in range(i + 1, 30))
    found = fit(verdicts(*((i, j, 1.0) if (i + j) % 2 else (j, i, 0.0) for i, j in pairs)), 30)
    assert_sound(found, 30)
    assert (np.diff(found.scores) < 0).all()
    assert found.reliability > 0.9


def test_all_ties_tell_nobody_apart() -> None:
    found = fit(verdicts(*((i, (i + k) % 12, 0.5) for i in range(12) for k in (1, 2, 3))), 12)
    assert_sound(found, 12)
    assert np.abs(found.scores).max() < 1e-12
    assert found.reliability < 0.5


def test_a_cycle_of_three_is_a_tie() -> None:
    found = fit(verdicts((0, 1, 1), (1, 2, 1), (2, 0, 1)), 3)
    assert_sound(found, 3)
    assert np.abs(found.scores).max() < 1e-12


def test_identical_records_get_identical_scores() -> None:
    found = fit(verdicts((0, 2, 1), (1, 2, 1), (0, 3, 0), (1, 3, 0)), 4)
    assert found.scores[0] == pytest.approx(found.scores[1], abs=1e-12)
    assert found.standard_errors[0] == pytest.approx(found.standard_errors[1], abs=1e-12)


def test_one_pair_judged_ten_thousand_times_among_essays_hardly_judged() -> None:
    given = verdicts(*[(0, 1, 1.0)] * 10_000, (1, 2, 1.0), (2, 3, 0.0), (3, 4, 0.5))
    cold = fit(given, 6)
    assert_sound(cold, 6)
    warm = fit(given, 6, start=fit(judged(6, 8), 6))
    assert np.abs(cold.scores - warm.scores).max() < 1e-9


def test_an_isolated_essay_keeps_the_uncertainty_of_the_prior() -> None:
    given = judged(20, 10)
    found = fit(given, 21)
    assert_sound(found, 21)
    assert found.scores[20] == pytest.approx(0.0, abs=1e-12)
    assert found.standard_errors[20] > found.standard_errors[:20].max()


def test_a_judge_who_always_names_the_first_moves_nobody_far() -> None:
    given = judged(40, 10)
    found = fit(Verdicts(given.first, given.second, np.ones(len(given))), 40)
    assert_sound(found, 40)
    assert found.reliability < 0.5


def test_ten_thousand_essays_with_one_verdict_each() -> None:
    items = 10_000
    names = np.random.default_rng(5).permutation(items)
    found = fit(Verdicts(names[::2], names[1::2], np.ones(items // 2)), items)
    assert_sound(found, items)
    assert (found.scores[names[::2]] > found.scores[names[1::2]]).all()
    assert found.reliability < 0.3


@pytest.mark.parametrize(
    ("first", "second", "outcome", "says"),
    [
        ([0, 3], [1, 3], [1.0, 0.0], "item 3 is compared with itself"),
        ([0], [1], [1.5], "between 0.0"),
        ([0], [1], [math.nan], "between 0.0"),
        ([0], [1], [math.inf], "between 0.0"),
        ([-1], [1], [1.0], "start at 0"),
        ([0, 1], [1], [1.0], "equally long"),
        ([[0]], [[1]], [[1.0]], "equally long"),
        ([0.0], [1.5], [1.0], "not float64"),
    ],
)
def test_verdicts_that_make_no_sense_are_refused(
    first: list[int], second: list[int], outcome: list[float], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Verdicts(np.array(first), np.array(second), np.array(outcome))


def test_verdicts_cannot_be_changed_afterwards() -> None:
    mine = np.array([0])
    given = Verdicts(mine, np.array([1]), np.array([1.0]))
    mine[0] = 1
    assert given.first[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        given.outcome[0] = 0.0


def test_unknown_items_and_impossible_arguments_are_refused() -> None:
    given = verdicts((0, 7, 1.0))
    for refuse in (fit, islands, Verdicts.count):
        with pytest.raises(ValueError, match="names item 7"):
            refuse(given, 5) if refuse is not Verdicts.count else given.count(5)
    with pytest.raises(ValueError, match="at least one item"):
        fit(Verdicts.empty(), 0)
    for sigma in (0.0, -1.0, math.nan, -math.inf):
        with pytest.raises(ValueError, match="sigma must lie"):
            fit(given, 8, sigma=sigma)
    with pytest.raises(ValueError, match="has 2 items, this batch 8"):
        fit(given, 8, start=fit(Verdicts.empty(), 2))


@pytest.mark.parametrize(
    ("module", "limit"),
    [(posterior, "_MAX_NEWTON_STEPS"), (information, "_MAX_CG_STEPS"), (spread, "_MAX_CLIMBS")],
)
def test_an_iteration_that_does_not_end_is_an_error(
    monkeypatch: pytest.MonkeyPatch, module: object, limit: str
) -> None:
    monkeypatch.setattr(module, limit, 1)
    with pytest.raises(NotConverged):
        fit(judged(200, 20, sd=6.0), 200)


def test_a_spread_that_is_not_found_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spread.likely_spread(30.0, 20) == pytest.approx(math.sqrt(1.5), abs=0.02)
    monkeypatch.setattr(spread, "_MAX_NEWTON_STEPS", 1)
    with pytest.raises(NotConverged):
        spread.likely_spread(30.0, 20)


# counting and islands


def test_every_essay_knows_its_verdicts() -> None:
    assert verdicts((0, 1, 1), (1, 2, 0), (1, 0, 0.5)).count(4).tolist() == [2, 3, 1, 0]
    assert Verdicts.empty().count(2).tolist() == [0, 0]


def test_islands_are_numbered_by_their_first_member() -> None:
    assert islands(verdicts((4, 0, 1), (5, 1, 1), (0, 2, 1)), 6).tolist() == [0, 1, 0, 2, 0, 1]
    assert islands(Verdicts.empty(), 3).tolist() == [0, 1, 2]


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_islands_are_the_connected_components(seed: int, items: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, items, m)
    second = (first + rng.integers(1, items, m)) % items
    reach = np.eye(items, dtype=bool)
    reach[first, second] = reach[second, first] = True
    for _ in range(6):
        reach = reach @ reach
    label = islands(Verdicts(first, second, np.ones(m)), items)
    assert ((label[:, None] == label) == reach).all()
