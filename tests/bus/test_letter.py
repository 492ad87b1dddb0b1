from __future__ import annotations

from uuid import uuid4

import pytest

from app.bus.dead_letter import dead_letter
from app.bus.letter import Letter, Where, place_of
from app.bus.protocol import Kept, Record, Reject
from app.errors import InvalidRequest


def letter(reason: str) -> Letter:
    record = Record("t", "batch-7", "id-1", b"body", {})
    return Letter.of(Kept(3, 1207, None, dead_letter(record, "cj", Reject(reason))))


def test_letters_that_died_of_the_same_are_of_one_kind_whatever_ids_their_reasons_name() -> None:
    one, other = (letter(f"unknown id {uuid4()}: nobody asked") for _ in range(2))
    assert one.reason != other.reason
    assert one.kind == other.kind == "unknown id …: nobody asked"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("reason=does not decode", True),
        ("reason=decode", False),
        ("reason~DECODE", True),
        ("group=cj", True),
        ("group=CJ", False),
        ("error~reject", True),
        ("key=batch-7", True),
        ("id~id-", True),
        ("id=3-1207", False),
    ],
)
def test_a_condition_is_exact_or_contained_in_any_case(words: str, *, meant: bool) -> None:
    assert Where.read(words).matches(letter("does not decode")) is meant


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("foo~x", "no field 'foo'; what can be asked for is reason, group, error, key or id"),
        ("body=x", "no field 'body'"),
        ("reason", "field=text or field~text, where field is reason, group, error, key or id"),
        ("reason=", "field=text or field~text"),
        ("", "field=text or field~text"),
    ],
)
def test_what_is_no_condition_is_told_with_the_fields_that_there_are(words: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Where.read(words)
    assert says in refused.value.detail


def test_an_id_is_a_place() -> None:
    assert place_of(letter("x").id) == (3, 1207)
    for text in ("", "3", "3-", "-3-1", "3-1-2", "a-b", "٣-1x"):
        with pytest.raises(InvalidRequest):
            place_of(text)
