from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.bus.marks import Marks

OFFSETS = st.lists(st.integers(0, 40), max_size=60)


def marked(offsets: list[int], below: int = 0) -> Marks:
    marks = Marks(below)
    for offset in offsets:
        marks = marks.add(offset)
    return marks


@given(OFFSETS, st.integers(0, 10), st.integers(0, 50))
def test_marks_are_a_set_of_offsets(offsets: list[int], below: int, start: int) -> None:
    marks = marked(offsets, below)
    want = {*offsets, *range(below)}
    assert {offset for offset in range(60) if offset in marks} == want
    assert marks.count(range(start, 60)) == len({offset for offset in want if offset >= start})
    later = marks.since(start)
    assert {offset for offset in range(start, 60) if offset in later} == {o for o in want if o >= start}


@given(OFFSETS, st.integers(0, 10))
def test_what_is_written_is_read_again(offsets: list[int], below: int) -> None:
    marks = marked(offsets, below)
    assert Marks.read(marks.below, marks.text) == marks


@given(OFFSETS)
def test_the_order_of_marking_makes_no_difference(offsets: list[int]) -> None:
    assert marked(offsets) == marked(sorted(offsets))


@given(st.text(max_size=20))
def test_a_text_of_somebody_else_marks_nothing_below(text: str) -> None:
    assert Marks.read(7, text).below >= 7
