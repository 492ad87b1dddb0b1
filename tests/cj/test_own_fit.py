"""Fits of people's own files, however few judgements they hold and whatever prior is asked for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cj.judgements import read_judgements
from app.cj.own_fit import OwnFit, own_fit

LEFT_OUT = "the preference for whoever is shown first has no finite estimate"
SPREADS = (None, math.inf, 1000.0, 30.0, 3.0)


def fitted(*rows: str, sigma: float | None = None, position: bool = True) -> OwnFit:
    content = "\n".join(("item_a,item_b,winner,judge", *rows))
    return own_fit(read_judgements(content.encode()), sigma=sigma, position=position)


def shown(found: OwnFit) -> dict[str, tuple[int | None, float | None]]:
    return {one.id: (one.rank, one.score and round(one.score, 2)) for one in found.items}


@pytest.mark.parametrize("rows", [("a,b,tie,x",), ("a,b,tie,x", "b,c,tie,x")])
def test_ties_alone_say_nothing_of_sides_and_leave_everybody_level(rows: tuple[str, ...]) -> None:
    found = fitted(*rows, sigma=math.inf)
    assert LEFT_OUT in found.notes[0]
    assert set(shown(found).values()) == {(1, 0.0)}


def test_a_preference_that_explains_all_the_better_the_larger_it_is_is_left_out() -> None:
    rows = ("a,b,tie,x", "b,c,tie,x", "c,a,a,x", "a,b,b,x")
    found = fitted(*rows, sigma=math.inf)
    assert LEFT_OUT in found.notes[0]
    assert shown(found) == shown(fitted(*rows, sigma=math.inf, position=False))
    assert shown(found) == {"c": (1, 0.82), "b": (2, 0.32), "a": (3, -1.14)}


def test_judges_of_five_verdicts_each_are_not_called_sharp() -> None:
    rows = (
        "A,D,a,x", "C,D,b,y", "D,A,a,y", "C,D,b,x", "C,B,b,y", "C,D,a,x", "C,B,b,x", "C,B,a,x", "E,C,a,y", "B,A,a,y",
    )  # fmt: skip
    for sigma in (10.0, 100.0):
        found = fitted(*rows, sigma=sigma, position=False)
        assert [judge.slope for judge in found.judges] == [1.0, 1.0]
        assert "all of them count alike" in found.notes[0]
    assert fitted(*rows).notes == ()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.permutations("ABCDE"), st.sampled_from(("a", "b", "tie")), st.sampled_from("xy")),
        min_size=1,
        max_size=14,
    ),
    st.sampled_from(SPREADS),
    st.booleans(),
)
def test_any_few_judgements_have_an_answer(
    drawn: list[tuple[list[str], str, str]],
    sigma: float | None,
    position: bool,  # noqa: FBT001 - hypothesis passes names
) -> None:
    rows = [f"{pair[0]},{pair[1]},{winner},{judge}" for pair, winner, judge in drawn]
    found = fitted(*rows, sigma=sigma, position=position)
    for item in found.items:
        assert (item.score is None) == (item.id in found.unbounded)
        assert item.score is None or (abs(item.score) < 1e4 and item.se is not None and item.se < 2e3)
    assert all(judge.slope is None or judge.slope < 150 for judge in found.judges)
