from typing import Any

import numpy as np
import pytest

from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.stopping import StopReason, explain, stop_reason


def fitted(reliability: float) -> Fit:
    return Fit(np.zeros(10), np.ones(10), 1.8, reliability, 5)


def reason(**changed: Any) -> StopReason | None:
    """A batch in full swing: nothing has been reached, unless something is `changed`."""
    ordinary: dict[str, Any] = {
        "fit": fitted(0.5),
        "verdicts_per_item": np.full(10, 6),
        "connected": True,
        "target": 0.9,
        "comparisons_per_essay": 20,
        "spent": 0.5,
        "budget": 1.0,
        "pairs_left": True,
    }
    return stop_reason(**(ordinary | changed))


def test_a_batch_in_full_swing_goes_on() -> None:
    assert reason() is None
    assert reason(budget=None, spent=1e9) is None


def test_reliability_counts_only_when_all_hang_together_and_have_six_verdicts() -> None:
    reached = fitted(0.9)
    assert reason(fit=reached) is StopReason.RELIABILITY
    assert reason(fit=fitted(0.8999)) is None
    assert reason(fit=reached, connected=False) is None
    assert reason(fit=reached, verdicts_per_item=np.array([6] * 9 + [5])) is None


@pytest.mark.parametrize("items", [2, 4, 6])
def test_a_tiny_batch_needs_as_many_verdicts_as_it_can_have(items: int) -> None:
    reached = fitted(0.95)
    assert reason(fit=reached, verdicts_per_item=np.full(items, items - 1)) is StopReason.RELIABILITY
    assert reason(fit=reached, verdicts_per_item=np.full(items, items - 2)) is None


def test_money_verdicts_and_pairs_run_out() -> None:
    assert reason(spent=1.0) is StopReason.BUDGET
    assert reason(spent=0.0, budget=0.0) is StopReason.BUDGET
    assert reason(verdicts_per_item=np.full(10, 20)) is StopReason.COMPARISONS
    assert reason(verdicts_per_item=np.array([19] + [20] * 9)) is None
    assert reason(pairs_left=False) is StopReason.NO_PAIRS


def test_the_best_news_comes_first() -> None:
    spent = {"verdicts_per_item": np.full(10, 20), "spent": 2.0, "pairs_left": False}
    assert reason(fit=fitted(0.95), **spent) is StopReason.RELIABILITY
    assert reason(**spent) is StopReason.BUDGET
    assert reason(**(spent | {"budget": None})) is StopReason.COMPARISONS


def sentence(why: StopReason, **changed: Any) -> str:
    ordinary: dict[str, Any] = {
        "fit": fitted(0.83),
        "connected": True,
        "target": 0.9,
        "comparisons_per_essay": 20,
        "spent": 1.02,
        "budget": 1.0,
    }
    return explain(why, **(ordinary | changed))


def test_the_page_says_what_ended_the_batch_and_what_it_is_worth() -> None:
    assert sentence(StopReason.BUDGET) == (
        "The budget of $1.00 is spent ($1.02): the ranking has an estimated reliability of only 0.83, 0.90 asked for."
    )
    assert sentence(StopReason.RELIABILITY, fit=fitted(0.913)) == (
        "The reliability asked for is reached: the ranking has an estimated reliability of 0.91, 0.90 asked for."
    )
    assert sentence(StopReason.CANCELLED, fit=None) == (
        "The batch was cancelled before any score could be computed."
    )
    assert "separate groups" in sentence(StopReason.COMPARISONS, connected=False)


@pytest.mark.parametrize("why", StopReason)
def test_every_reason_has_its_sentence(why: StopReason) -> None:
    assert sentence(why).endswith(".")
    assert sentence(why, budget=None).endswith(".")
