from xml.etree import ElementTree as ET

import pytest

from app.web.curve_plot import Line, curves_svg

SVG = "{http://www.w3.org/2000/svg}"


def draw(*lines: Line) -> ET.Element:
    return ET.fromstring(curves_svg(lines, title="A < B", across="x", up="y", goals=(0.8,)))


def test_the_plot_is_well_formed_and_says_what_it_shows() -> None:
    tree = draw(Line("<ours>", (1.0, 2.0), (0.2, 0.9)), Line("theirs", (1.0, 2.0), (0.1, 0.89)))
    title, desc = tree.find(f"{SVG}title"), tree.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert title.text == "A < B"
    assert desc.text == "y by x, up to 2: <ours> ends at 0.90; theirs ends at 0.89."
    assert tree.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"


def test_names_that_would_meet_are_moved_apart() -> None:
    tree = draw(*(Line(f"line {n}", (1.0,), (0.5,)) for n in range(4)))
    places = [float(t.get("y", 0)) for t in tree.iter(f"{SVG}text") if (t.text or "").startswith("line ")]
    gaps = [high - low for low, high in zip(sorted(places), sorted(places)[1:], strict=False)]
    assert min(gaps) >= 15.0


def test_lines_differ_in_more_than_their_colour() -> None:
    tree = draw(*(Line(f"{n}", (1.0, 2.0), (0.1, 0.2)) for n in range(4)))
    dashes = [line.get("stroke-dasharray") for line in tree.iter(f"{SVG}polyline")]
    assert len(set(dashes)) == 4


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one line"):
        curves_svg([], title="", across="", up="")
