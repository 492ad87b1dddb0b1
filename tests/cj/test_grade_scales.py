from pathlib import Path

import pytest

from app.cj.grade_scales import GradeScale, load_scale, load_scales
from app.errors import ConfigurationError, InvalidRequest

SHIPPED = Path(__file__).parents[2] / "config" / "grade_scales"

GOOD = """
title = "Three"
grades = ["low", "middle", "high"]
[population]
meaning = "made up for this test"
shares = { high = 0.2, middle = 0.5, low = 0.3 }
"""


def written(folder: Path, text: str, name: str = "three.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_the_shipped_scales_can_be_read_and_run_from_lowest_to_highest() -> None:
    scales = load_scales(SHIPPED)
    assert {"england-1-9", "sweden-a-f", "letters", "ib-1-7"} <= set(scales)
    assert scales["sweden-a-f"].grades == ("F", "E", "D", "C", "B", "A")
    assert scales["england-1-9"].grades[0] == "U"


def test_shares_come_in_the_order_of_the_grades_and_sum_to_one(tmp_path: Path) -> None:
    scale = load_scale(written(tmp_path, GOOD.replace("0.2", "0.204")))
    assert scale.shares == pytest.approx((0.3 / 1.004, 0.5 / 1.004, 0.204 / 1.004))
    assert GradeScale(title="x", grades=("a", "b")).shares is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"middle"', '"low"', "low stands there more than once"),
        ('["low", "middle", "high"]', '["low"]', "at least 2 items"),
        ('"middle"', '""', "grades.1"),
        ("middle = 0.5, ", "", "no share for middle"),
        ("middle = 0.5", "middle = 0.4, medium = 0.1", "medium is not among the grades"),
        ("0.5", "0.9", "the sum is 1.400 instead of 1"),
        ("0.5", "0", "population.shares.middle"),
        ("0.5", "nan", "population.shares.middle"),
        ('meaning = "made up for this test"', "", "population.meaning: missing"),
        ("title", "name", "name: unknown; what a scale may say"),
        ('title = "Three"', "title =", "Invalid value"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    file = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as caught:
        load_scale(file)
    assert words in caught.value.detail
    assert str(file) in caught.value.detail


def test_all_faults_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    written(tmp_path, "grades = []", "one.toml")
    written(tmp_path, GOOD.replace("0.5", "0.9"), "two.toml")
    with pytest.raises(ConfigurationError) as caught:
        load_scales(tmp_path)
    for words in ("one.toml: title: missing", "one.toml: grades", "two.toml: population.shares: the sum"):
        assert words in caught.value.detail


def test_a_missing_folder_or_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        load_scales(tmp_path / "away")
    with pytest.raises(ConfigurationError, match=r"away\.toml"):
        load_scale(tmp_path / "away.toml")


def test_levels_become_grade_numbers_and_strange_ones_are_all_named() -> None:
    scale = GradeScale(title="Letters", grades=("C", "B", "A"))
    assert scale.numbers(["x", "y", "z"], ["A", None, "C"]) == [2, None, 0]
    with pytest.raises(InvalidRequest) as caught:
        scale.numbers(["x", "y", "z"], ["A", "a", "5"])
    assert [name for name, _ in caught.value.errors] == ["y", "z"]
    assert "C, B, A" in caught.value.hint
