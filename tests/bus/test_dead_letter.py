from __future__ import annotations

import pytest

from app.bus.dead_letter import dead_letter, revive
from app.bus.protocol import Record, Reject

RECORD = Record("t", "k", "1", b"\xff", {"traceparent": "00-1"}, attempt=3)


def test_a_dead_letter_comes_back_as_it_was() -> None:
    letter = dead_letter(RECORD, "cj", Reject("never"))
    assert letter.topic == "t.dead"
    assert revive(letter) == Record("t", "k", "1", b"\xff", {"traceparent": "00-1"})


def test_only_a_rejection_may_speak() -> None:
    assert dead_letter(RECORD, "cj", Reject("never")).headers["dead-reason"] == "never"
    letter = dead_letter(RECORD, "cj", ValueError("the essay of a pupil"))
    assert letter.headers["dead-error"] == "ValueError"
    assert "pupil" not in "".join(letter.headers.values())


def test_what_is_not_a_dead_letter_is_not_revived() -> None:
    with pytest.raises(ValueError, match="not a dead letter"):
        revive(RECORD)
