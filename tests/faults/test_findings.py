"""What campaigns print and write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.findings import Figure, Findings, table, write

FOUND = Findings(
    "storm",
    "python -m tests.faults storm --seed 1",
    2.0,
    [Figure.at_least("kills", 7, 5), Figure.none("lost", 1)],
)


def test_a_table_has_a_line_for_each_figure_and_says_which_bar_is_not_met() -> None:
    assert table(FOUND).splitlines()[4:] == [
        "| storm | kills | 7 | ≥ 5 | yes |",
        "| storm | lost | 1 | 0 | **no** |",
    ]
    assert not FOUND.met


def test_a_table_takes_the_place_of_the_former_one_and_leaves_the_rest_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- faults: storm -->\nold\n<!-- end of storm -->\nAfter\n")
    write(FOUND, page)
    write(FOUND, page)
    text = page.read_text()
    assert text.startswith("Before\n<!-- faults: storm -->\n`python -m tests.faults storm --seed 1`, 2 s:\n")
    assert text.endswith("| **no** |\n<!-- end of storm -->\nAfter\n")
    assert "old" not in text
    assert text.count("| storm | kills") == 1


def test_a_page_without_a_place_for_the_campaign_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before")
    with pytest.raises(ValueError, match="no place"):
        write(FOUND, page)
    assert page.read_text() == "Before"
