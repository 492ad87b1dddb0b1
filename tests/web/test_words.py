from uuid import UUID

import pytest

from app.cj.batch import Batch, BatchState
from app.web import words
from tests.web.conftest import new_batch


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, words.NOTHING_YET), (0.897, "0.89"), (0.9, "0.90"), (0.29, "0.29"), (1.0, "1.00"), (0.0, "0.00")],
)
def test_a_reliability_never_looks_better_than_it_is(value: float | None, shown: str) -> None:
    assert words.reliability(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(-1.234, "\N{MINUS SIGN}1.23"), (-0.001, "0.00"), (0.005, "0.01"), (12.0, "12.00")]
)
def test_figures_have_a_true_minus_and_no_negative_zero(value: float, shown: str) -> None:
    assert words.figure(value) == shown


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (0.5, "the budget is spent"),
        (0.51, "the budget is spent"),
        (0.4, "the budget would not have lasted for another"),
    ],
)
def test_a_budget_that_is_not_spent_is_not_called_spent(cost: float, said: str) -> None:
    batch = Batch(
        id=UUID(int=0),
        title="",
        question="",
        settings=new_batch(budget_usd=0.5).settings,
        state=BatchState.FINISHED,
        essays=2,
        waves=1,
        fitted_wave=1,
        planned=1,
        decided=1,
        failed=0,
        cost_usd=cost,
        reliability=None,
        stop_reason="budget_spent",
        problem=None,
        created_at=0.0,
        finished_at=None,
        version=1,
    )
    assert said in words.stopped(batch)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "unknown"),
        (12, "less than a minute"),
        (61, "about 1 min"),
        (370, "about 6 min"),
        (5000, "about 83 min"),
        (7300, "about 2 h"),
    ],
)
def test_durations_are_said_as_one_says_them(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, ""), (0.5, "close"), (0.65, "likely"), (0.8, "clear"), (1.0, "clear")]
)
def test_confidence_is_a_word(value: float | None, said: str) -> None:
    assert words.confidence(value) == said


def test_every_kind_of_judge_has_a_word_and_a_banner() -> None:
    assert set(words.JUDGES) == set(words.BANNERS) == {"human", "llm", "rules", "simulated"}


def test_moments_for_machines_are_rfc_3339_in_utc() -> None:
    assert words.rfc3339(0.5) == "1970-01-01T00:00:00.500Z"
    assert words.rfc3339(None) == ""


def test_small_sums_keep_their_digits() -> None:
    assert (words.usd(0.0), words.usd(0.0042), words.usd(0.42)) == ("0.00 USD", "0.0042 USD", "0.42 USD")
