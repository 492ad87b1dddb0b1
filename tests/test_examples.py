"""The examples are what their README says they are."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from app.cj.folder import read_folder
from app.contracts import LLMComparisonRequest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_eighteen_essays_three_a_level_five_of_them_anchors() -> None:
    folder = read_folder([EXAMPLES / "essays"])
    assert folder.handed_in.remarks == ()
    assert len(folder.essays) == 18
    assert Counter(folder.levels.values()) == dict.fromkeys("123456", 3)
    assert sum(essay.level is not None for essay in folder.essays) == 5
    with (EXAMPLES / "levels.csv").open(newline="") as stream:
        assert {row["essay"] for row in csv.DictReader(stream)} == {essay.name for essay in folder.essays}


def test_the_example_comparison_is_one() -> None:
    LLMComparisonRequest.model_validate_json((EXAMPLES / "comparison.json").read_bytes())
