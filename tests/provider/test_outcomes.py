"""What an outcome without a verdict says to whoever asked."""

from __future__ import annotations

import pytest

from app.errors import JudgeFailed
from app.provider.judges.protocol import JudgeError
from app.provider.outcomes import failed
from tests.provider.test_spending import NOON, lease


def hint(code: str) -> str:
    error = failed(lease(), JudgeError(code, "No."), attempts=1, now=NOON).error
    assert error is not None
    return error.hint


@pytest.mark.parametrize(
    "code", ["auth", "quota", "rejected", "wrong_model", "too_long", "refused", "malformed"]
)
def test_what_would_fail_again_as_it_is_has_advice_of_its_own(code: str) -> None:
    assert hint(code) not in {"", JudgeFailed.hint}


def test_what_may_pass_is_advised_to_be_asked_again() -> None:
    assert hint("timeout") == JudgeFailed.hint
