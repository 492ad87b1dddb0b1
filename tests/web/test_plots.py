from xml.etree import ElementTree as ET

from app.cj.scoring_ranking import RankedEssay, ranking
from app.web.plots import caterpillar

SVG = "{http://www.w3.org/2000/svg}"


def rows(number: int = 5) -> list[RankedEssay]:
    names = [f"Essay {n:02}" for n in range(number)]
    levels = ["B" if n == 1 else None for n in range(number)]
    return ranking(names, levels, [float(-n) for n in range(number)], [0.5] * number, [6] * number)


def parse(svg: str) -> ET.Element:
    return ET.fromstring(str(svg))


def test_the_plot_is_well_formed_and_says_what_it_shows() -> None:
    tree = parse(caterpillar(rows()))
    assert tree.get("role") == "img"
    title, desc = tree.find(f"{SVG}title"), tree.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert tree.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert "5 essays from the best, Essay 00 (0.00 logits), to the last, Essay 04 (\N{MINUS SIGN}4.00)" in (
        desc.text or ""
    )
    assert "1 anchors" in (desc.text or "")


def test_bars_hold_one_and_1_96_standard_errors() -> None:
    tree = parse(caterpillar(rows()))
    outer = [float(line.get("x2", 0)) - float(line.get("x1", 0)) for line in tree.iter(f"{SVG}line") if line.get("class") == "p95"]  # fmt: skip
    inner = [float(line.get("x2", 0)) - float(line.get("x1", 0)) for line in tree.iter(f"{SVG}line") if line.get("class") == "p68"]  # fmt: skip
    assert len(outer) == len(inner) == 5
    for wide, narrow in zip(outer, inner, strict=True):
        assert abs(wide / narrow - 1.96) < 0.01


def test_anchors_are_squares_and_others_circles() -> None:
    tree = parse(caterpillar(rows()))
    assert len(list(tree.iter(f"{SVG}rect"))) == 1
    assert len(list(tree.iter(f"{SVG}circle"))) == 4


def test_names_are_escaped() -> None:
    evil = ranking(["<script>&"], [None], [1.0], [0.2], [3])
    svg = caterpillar(evil)
    assert "<script>" not in svg
    assert "&lt;script&gt;&amp;" in svg
    parse(svg)


def test_essays_without_a_score_are_left_out_and_no_scores_make_no_plot() -> None:
    some = ranking(["a", "b"], [None, None], [0.0, None], [1.0, None], [2, 0])
    assert len(list(parse(caterpillar(some)).iter(f"{SVG}circle"))) == 1
    assert caterpillar(ranking(["a"], [None], [None], [None], [0])) == ""
    assert caterpillar([]) == ""


def test_many_essays_still_make_a_plot_of_bounded_size() -> None:
    tree = parse(caterpillar(rows(3000)))
    assert float(tree.get("height", 0)) < 3000
    assert not [text for text in tree.iter(f"{SVG}text") if text.get("class") == "name"]


def test_equal_scores_and_long_names_stay_inside() -> None:
    same = ranking(["x" * 200, "y"], [None, None], [0.0, 0.0], [0.0, 0.0], [1, 1])
    tree = parse(caterpillar(same, width=350))
    for circle in tree.iter(f"{SVG}circle"):
        assert 0 <= float(circle.get("cx", -1)) <= 350
    (name, _) = [text for text in tree.iter(f"{SVG}text") if text.get("class") == "name"]
    assert (name.text or "").endswith("…")
