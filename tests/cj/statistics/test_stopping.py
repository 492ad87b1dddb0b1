from typing import Any

import numpy as np
import pytest

from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.stopping import StopReason, most_comparisons, stop_reason


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


def test_money_and_verdicts_run_out() -> None:
    assert reason(spent=1.0) is StopReason.BUDGET
    assert reason(spent=0.0, budget=0.0) is StopReason.BUDGET
    assert reason(verdicts_per_item=np.full(10, 20)) is StopReason.COMPARISONS
    assert reason(verdicts_per_item=np.array([19] + [20] * 9)) is None


def test_the_best_news_comes_first() -> None:
    spent = {"verdicts_per_item": np.full(10, 20), "spent": 2.0}
    assert reason(fit=fitted(0.95), **spent) is StopReason.RELIABILITY
    assert reason(**spent) is StopReason.BUDGET
    assert reason(**(spent | {"budget": None})) is StopReason.COMPARISONS


@pytest.mark.parametrize(
    ("items", "each", "most"), [(18, 10, 90), (9, 5, 23), (2, 10, 1), (4, 3, 6), (4, 9, 6), (3, 1, 2)]
)
def test_the_cap_is_per_item_and_never_asks_a_pair_twice(items: int, each: int, most: int) -> None:
    assert most_comparisons(items, each) == most
