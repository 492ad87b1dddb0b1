"""The file of norms, weights and personas: complete, documented, and refused when something is wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.provider.judges.features import FEATURES
from app.provider.judges.panel import PERSONAS, load_panel

FILE = Path(__file__).parents[3] / "config" / "judges.toml"


def changed(folder: Path, old: str, new: str) -> Path:
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    path = folder / "judges.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_every_feature_has_a_norm_and_a_weight() -> None:
    panel = load_panel(FILE)
    names = {feature.name for feature in FEATURES}
    assert set(panel.norms) == set(panel.weights) == names
    assert set(panel.personas) == set(PERSONAS)


def test_every_norm_and_weight_says_why() -> None:
    for table in FILE.read_text(encoding="utf-8").split("\n[")[1:]:
        title, *lines = table.splitlines()
        settings = [line for line in lines if "=" in line and not line.startswith("#")]
        if not title.startswith("rules.personas"):
            assert settings, title
            assert all(re.search(r" # \w", line) for line in settings), title


def test_leanings_differ() -> None:
    personas = tomllib.loads(FILE.read_text(encoding="utf-8"))["rules"]["personas"]
    assert len({str(sorted(factors.items())) for factors in personas.values()}) == len(PERSONAS)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("slips              = { median", "slip               = { median", "rules.norms.slip: unknown"),
        ("slips              = { median", "slip               = { median", "rules.norms.slips: missing"),
        ("closeness          = 0.05", "nearness           = 0.05", "rules.weights.nearness: unknown"),
        ("[rules.personas.content]", "[rules.personas.contents]", "rules.personas.content: missing"),
        ("slips   = 3.0", "skips   = 3.0", "rules.personas.accuracy.skips: unknown"),
        ("mad = 0.28 ", "mad = 0 ", "rules.norms.words.mad: Input should be greater than 0"),
        ("mad = 0.28 ", "mod = 0.28 ", "rules.norms.words.mod: Extra inputs"),
        (
            "words              = 0.30",
            "words              = -0.30",
            "rules.weights.words: Input should be greater",
        ),
        ("words              = 0.30", "words              = nan", "rules.weights.words: Input should be"),
        ("minimum_words = 50", "minimum_word = 50", "rules.minimum_word: Extra inputs"),
        ("[rules]", "[rule]", "rule: Extra inputs"),
        ("[rules]", "[rules", "Expected"),
    ],
)
def test_a_wrong_file_is_refused_and_the_key_is_named(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(ConfigurationError) as caught:
        load_panel(path)
    assert fault in caught.value.detail
    assert str(path) in caught.value.detail


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        load_panel(tmp_path / "absent.toml")
