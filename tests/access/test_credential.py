"""The text of a key: what is drawn is read again, and nothing else is."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from app.access.credential import draw, read


def test_what_is_drawn_is_read_again_and_is_never_drawn_twice() -> None:
    drawn = [draw() for _ in range(500)]
    assert [read(credential.text.encode()) for credential in drawn] == drawn
    assert len({credential.id for credential in drawn}) == len({c.secret for c in drawn}) == 500
    assert all(re.fullmatch(r"juxta_[a-z2-7]{8}_[\w-]{43}", credential.text) for credential in drawn)


def test_the_secret_has_32_random_bytes_and_is_not_stored() -> None:
    credential = draw()
    assert len(credential.secret) * 6 // 8 == 32
    assert len(credential.digest) == 32
    assert credential.secret not in credential.digest


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: f"juxta_{text}".encode()))
def test_reading_never_fails_and_gives_back_only_what_was_written(text: bytes) -> None:
    credential = read(text)
    assert credential is None or credential.text.encode() == text


@given(st.integers(0, 57), st.integers(0, 255))
def test_a_key_with_one_byte_changed_is_another_key_or_none(place: int, byte: int) -> None:
    original = draw()
    text = bytearray(original.text.encode())
    changed = text[place] != byte
    text[place] = byte
    credential = read(bytes(text))
    same = credential is not None and credential.id == original.id and credential.matches(original.digest)
    assert same is not changed


@given(st.sampled_from([b"\n", b" ", b"\x00", b"A"]))
def test_nothing_may_stand_before_or_behind_it(more: bytes) -> None:
    text = draw().text.encode()
    assert read(text + more) is None
    assert read(more + text) is None
