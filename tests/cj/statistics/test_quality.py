import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cj.statistics.bradley_terry import fit
from app.cj.statistics.quality import Quality, quality
from app.cj.statistics.verdicts import Verdicts
from tests.cj.statistics.fits import fit_of
from tests.cj.statistics.judging import judged, random_rounds, said, together, truth


def alarms(found: Quality) -> list[tuple[str, int]]:
    """What would be shown as alarming, and of which judge."""
    return [
        *(("position", each.judge) for each in found.positions if each.alarming),
        *(("swaps", each.judge) for each in found.swaps if each.alarming),
        *(("misfit", each) for each in found.judges.misfits.tolist()),
    ]


@pytest.mark.parametrize(
    ("verdicts", "items"),
    [
        (Verdicts.empty(), 1),
        (Verdicts.empty(), 3),
        (said((0, 1, 1.0)), 2),
        (said(*[(a, b, 0.5) for a, b in ((0, 1), (1, 2), (0, 2))]), 3),
        (said((0, 1, 1.0), (2, 3, 0.0)), 4),
        (said((0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0)), 3),
        (said(*[(0, k, 1.0) for k in range(1, 8)]), 8),
    ],
    ids=["one essay", "no verdicts", "one verdict", "all ties", "two islands", "a cycle", "undefeated"],
)
def test_awkward_batches_raise_no_alarm_and_no_error(verdicts: Verdicts, items: int) -> None:
    found = quality(verdicts, fit(verdicts, items))
    assert alarms(found) == []
    assert found.essays.infit.shape == (items,)
    assert not found.favours.favoured.size


def test_a_judge_who_always_says_a_contradicts_every_audit() -> None:
    rng = np.random.default_rng(0)
    pairs = random_rounds(30, 6, rng)
    audits = pairs[rng.permutation(len(pairs))[:12], ::-1]
    both = np.concatenate((pairs, audits))
    verdicts = Verdicts(both[:, 0], both[:, 1], np.ones(len(both)))
    found = quality(verdicts, fit(verdicts, 30))
    assert found.positions[0].first_wins == 1.0
    assert found.swaps[0].share == 0.0
    assert ("swaps", 0) in alarms(found)
    assert found.essays.agreement.mean() < 0.9


def test_an_honest_judge_and_a_coin_raise_the_alarm_for_the_coin_alone() -> None:
    rng, scores = np.random.default_rng(1), truth(60, 1)
    honest = [judged(scores, random_rounds(60, 8, rng), rng, judge=judge) for judge in (0, 1)]
    coin = judged(scores, random_rounds(60, 8, rng), rng, judge=2, sharpness=0.0)
    verdicts = together(*honest, coin)
    assert alarms(quality(verdicts, fit(verdicts, 60, slopes=False))) == [("misfit", 2)]


def test_a_lone_coin_is_not_misfitting_and_shows_no_scale() -> None:
    rng = np.random.default_rng(2)
    pairs = np.unique(np.sort(random_rounds(60, 12, rng), axis=1), axis=0)  # no pair twice: no audits
    verdicts = judged(truth(60, 2), pairs, rng, sharpness=0.0)
    known = fit(verdicts, 60)
    assert alarms(quality(verdicts, known)) == []
    assert known.reliability < 0.3


def test_a_far_position_term_alarms_for_its_judge() -> None:
    known = fit_of([0.0] * 2, positions=(1.2, 0.0))
    found = quality(said((0, 1, 1.0, 0), (0, 1, 1.0, 1)), known)
    assert alarms(found) == [("position", 0)]
    assert found.positions[0].estimate == 1.2


def test_scores_without_a_finite_estimate_break_nothing() -> None:
    known = fit_of([math.inf, 0.0, -math.inf], errors=math.inf, sigma=math.inf)
    found = quality(said((0, 1, 1.0), (1, 2, 1.0), (0, 2, 1.0)), known)
    assert found.essays.verdicts.tolist() == [2, 2, 2]
    assert found.triads.expected == 0.0


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 5), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2)),
        max_size=25,
    ),
    lots=st.randoms(use_true_random=False),
)
def test_the_order_of_the_verdicts_does_not_matter(
    rows: list[tuple[int, int, float, int]], lots: random.Random
) -> None:
    rows = [(a, (a + step) % 6, outcome, judge) for a, step, outcome, judge in rows]
    if not rows:
        return
    mixed = list(rows)
    lots.shuffle(mixed)
    known = fit(said(*rows), 6)
    one, other = quality(said(*rows), known), quality(said(*mixed), known)
    for figure in ("infit", "outfit", "infit_z", "agreement"):
        left, right = getattr(one.essays, figure), getattr(other.essays, figure)
        assert left == pytest.approx(right, nan_ok=True, abs=1e-9)
    assert one.favours.p_more == pytest.approx(other.favours.p_more, abs=1e-9)
    assert (one.triads.triads, one.triads.circular) == (other.triads.triads, other.triads.circular)
    assert [each.share for each in one.agreements] == pytest.approx(
        [each.share for each in other.agreements], nan_ok=True
    )
    assert ((one.favours.p_more >= 0.0) & (one.favours.p_more <= 1.0)).all()
