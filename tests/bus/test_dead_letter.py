from __future__ import annotations

from dataclasses import replace

import pytest

from app.bus.dead_letter import REDRIVES, again, dead_letter, redrives, revive
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


def test_each_redrive_is_counted_and_the_count_outlives_the_next_death() -> None:
    record = RECORD
    for number in (1, 2, 3):
        letter = dead_letter(record, "cj", Reject("never"))
        record = again(letter)
        assert redrives(record) == number
        assert redrives(dead_letter(record, "cj", Reject("never"))) == number


@pytest.mark.parametrize("text", ["", "-1", "many", "9" * 40, "\u0663"])
def test_a_count_that_is_none_of_ours_counts_as_never(text: str) -> None:
    assert redrives(replace(RECORD, headers={REDRIVES: text})) == 0
