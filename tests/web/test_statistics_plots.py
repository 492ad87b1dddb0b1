"""The plots of the statistics: well-formed, described in words, and true to their figures."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from app.web.plots import (
    Cell,
    GradeLines,
    Interval,
    Move,
    Step,
    caterpillar,
    chances_bar,
    intervals,
    matrix,
    path,
    slope,
)
from tests.web.test_plots import SVG, parse, rows

EVIL = "<script>&"
STEPS = (Step(1.0, 0.1), Step(4.0, 0.62), Step(8.0, 0.81))
MOVES = (Move("a", 1, 2, -1), Move("b", 2, 1, 1), Move("c", 3, None, None), Move("d", 4, 3, 0))
GRADES = GradeLines(("C", "B", "A"), (-3.0, -1.0))


def of_kind(tree: ET.Element, kind: str) -> list[ET.Element]:
    return [element for element in tree.iter() if element.get("class") == kind]


def words_of(tree: ET.Element) -> str:
    found = tree.find(f"{SVG}desc")
    assert found is not None
    return found.text or ""


@pytest.mark.parametrize(
    "plot",
    [
        caterpillar(rows(), grades=GRADES),
        path(STEPS, goal=0.8),
        intervals((Interval(EVIL, 0.1, -0.2, 0.4),), title=EVIL, unit="logits", fair=0.0),
        matrix((EVIL, "b"), {(0, 1): Cell(1.0, 1), (1, 0): Cell(0.0, 1)}, desc=EVIL),
        slope((Move(EVIL, 1, 1, 0),)),
    ],
)
def test_every_plot_has_a_title_a_description_and_escaped_names(plot: Markup) -> None:
    assert EVIL not in plot
    tree = parse(plot)
    title, desc = tree.find(f"{SVG}title"), tree.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert tree.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    width, height = float(tree.get("width", 0)), float(tree.get("height", 0))
    for element in tree.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height)):
            assert 0 <= float(element.get(name, 0)) <= most, (element.tag, element.attrib)


def test_nothing_makes_no_plot() -> None:
    assert path((), goal=0.8) == ""
    assert intervals((), title="", unit="", fair=0.0) == ""
    assert matrix((), {}, desc="") == ""
    assert slope(()) == ""


def test_grade_lines_stand_where_grades_begin_and_each_grade_is_named_above_its_part() -> None:
    tree = parse(caterpillar(rows(), grades=GRADES))
    lines = [float(line.get("x1", 0)) for line in of_kind(tree, "boundary")]
    marks = {float(mark.get("cx", 0)) for mark in tree.iter(f"{SVG}circle")}
    assert lines == sorted(lines)
    assert {lines[0]} <= marks  # essay 03 has the score -3
    assert [name.text for name in of_kind(tree, "grade")] == ["C", "B", "A"]
    assert "C is lowest, then begins B at \N{MINUS SIGN}3.00, A at \N{MINUS SIGN}1.00" in words_of(tree)


def test_a_boundary_outside_the_plot_is_not_drawn() -> None:
    tree = parse(caterpillar(rows(), grades=GradeLines(("C", "B", "A"), (-30.0, -1.0))))
    assert len(of_kind(tree, "boundary")) == 1
    assert [name.text for name in of_kind(tree, "grade")] == ["B", "A"]


def test_the_path_rises_with_its_figures_and_says_when_the_goal_was_reached() -> None:
    tree = parse(path(STEPS, goal=0.8))
    heights = [float(mark.get("cy", 0)) for mark in of_kind(tree, "mark")]
    assert heights == sorted(heights, reverse=True)
    assert "it was reached at 8.0 verdicts per essay" in words_of(tree)
    assert "it was not reached" in words_of(parse(path(STEPS, goal=0.9)))


def test_an_interval_holds_its_value_and_fair_is_always_in_sight() -> None:
    tree = parse(intervals((Interval("one", 2.0, 1.5, 2.5),), title="t", unit="logits", fair=0.0))
    (bar,), (fair,), (mark,) = (of_kind(tree, kind) for kind in ("p68", "fair", "mark"))
    low, high = float(bar.get("x1", 0)), float(bar.get("x2", 0))
    assert float(fair.get("x1", 0)) < low < float(mark.get("cx", 0)) < high


def test_the_matrix_is_dark_where_the_row_won() -> None:
    cells = {(0, 1): Cell(3.0, 4), (1, 0): Cell(1.0, 4), (0, 2): Cell(0.5, 1), (2, 0): Cell(0.5, 1)}
    tree = parse(matrix(("a", "b", "c"), cells, desc="d"))
    shades = [square.get("fill-opacity") for square in of_kind(tree, "met")]
    assert shades == ["1.0", "0.35", "0.1", "0.35"]
    assert [label.text for label in of_kind(tree, "won")] == ["75"]
    assert len(of_kind(tree, "self")) == 3


def test_lines_of_the_slope_chart_say_who_rises_among_those_that_are_left() -> None:
    tree = parse(slope(MOVES))
    assert [len(of_kind(tree, kind)) for kind in ("rise", "fall", "same")] == [1, 1, 1]
    assert "1 would rise among those that are left, 1 fall, 1 would be left out" in words_of(tree)


def test_the_bar_of_chances_fills_its_width_and_darkens_with_the_grade() -> None:
    tree = parse(chances_bar((0.2, 0.0, 0.5, 0.3)))
    widths = [float(part.get("width", "0%").removesuffix("%")) for part in tree.iter("rect")]
    shades = [float(part.get("fill-opacity", 0)) for part in tree.iter("rect")]
    assert sum(widths) == pytest.approx(100.0)
    assert shades == sorted(shades)
    assert len(shades) == 3
    assert tree.get("aria-hidden") == "true"
