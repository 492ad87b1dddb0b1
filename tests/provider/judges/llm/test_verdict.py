"""A verdict is read strictly or not at all, and its reasons are cut where a reader would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts import LLMComparisonResponse, Winner
from app.provider.judges.llm.verdict import (
    LEVELS,
    LONGEST,
    Unreadable,
    read_verdict,
    schema,
    shortened,
    strict_json,
)

GOOD: Mapping[str, Any] = {"justification": "A argues better.", "winner": "A", "confidence": "high"}
WORDS = "sesame"


def written(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


@pytest.mark.parametrize(
    ("winner", "decision"), [("A", Winner.ESSAY_A), ("B", Winner.ESSAY_B), ("tie", Winner.TIE)]
)
def test_the_three_winners_are_read(winner: str, decision: Winner) -> None:
    assert read_verdict(f"\n {written(winner=winner)}\n").decision is decision


@pytest.mark.parametrize(("level", "confidence"), LEVELS.items())
def test_five_levels_are_five_points_on_the_one_scale(level: str, confidence: float) -> None:
    assert read_verdict(written(confidence=level)).certainty == confidence
    assert 0.5 < confidence < 1


def test_the_confidence_of_a_tie_is_that_of_a_coin() -> None:
    assert read_verdict(written(winner="tie", confidence="very_high")).certainty == 0.5


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "it is empty"),
        ("  \n", "it is empty"),
        (f"```json\n{written()}\n```", "it is not one JSON object"),
        (f"Here is my verdict: {written()}", "it is not one JSON object"),
        (f"{written()} {written()}", "it is not one JSON object"),
        ("Essay B.", "it is not one JSON object"),
        ("tie", "it is not one JSON object"),
        (written()[:-9], "it is not one JSON object"),
        (written()[:-1] + ', "winner": "B"}', "it is not one JSON object"),
        ("NaN", "it is not one JSON object"),
        ("[" * 100_000, "it is not one JSON object"),
        (f"[{written()}]", "it is not a JSON object"),
        ('"A"', "it is not a JSON object"),
        (written(winner="Essay B."), '"winner" is not one of the allowed values'),
        (written(winner="a"), '"winner" is not one of the allowed values'),
        (written(winner="both"), '"winner" is not one of the allowed values'),
        (written(winner=["A", "B"]), '"winner" is not one of the allowed values'),
        (written(winner=None), '"winner" is not one of the allowed values'),
        (written(confidence=4), '"confidence" is not one of the allowed values'),
        (written(confidence="certain"), '"confidence" is not one of the allowed values'),
        (written(justification=7), '"justification" is no string'),
        (written(justification=" \u0000 "), '"justification" is empty'),
        (written(sesame=WORDS), "it has a member that was not asked for"),
        (json.dumps({"winner": "A", "confidence": "low"}), '"justification" is missing'),
    ],
)
def test_nothing_is_guessed(answer: str, fault: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_verdict(answer)
    assert caught.value.fault == fault
    assert caught.value.__context__ is None
    assert WORDS not in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Unreadable, match=r'"winner" is not .*; "confidence" is missing'):
        read_verdict(json.dumps({"justification": "x", "winner": "C"}))


def test_reasons_of_100_000_characters_are_cut_and_not_refused() -> None:
    verdict = read_verdict(written(justification="Essay A has clear reasons. " * 4000))
    assert verdict.decision is Winner.ESSAY_A
    assert 900 < len(verdict.reasons) <= LONGEST
    assert verdict.reasons.endswith("reasons.")


def test_what_cannot_be_stored_is_left_out_of_the_reasons() -> None:
    assert (
        read_verdict('{"justification": "A\\u0000B\\ud800\\n!", "winner": "A", "confidence": "low"}').reasons
        == "AB\n!"
    )


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("One. Two words here", "One. Two…"),
        ("One word. Two", "One word."),
        ("abcdefghijklmnop", "abcdefghi…"),
        ("short", "short"),
        ("  ten chars ", "ten chars"),
        ("exactly 10", "exactly 10"),
        ("Is it 3.14159", "Is it…"),
    ],
)
def test_a_cut_falls_after_a_sentence_or_between_words(text: str, cut: str) -> None:
    assert shortened(text, 10) == cut


@given(st.text(max_size=1500))
def test_reasons_always_fit_the_wire(text: str) -> None:
    clean = shortened(text)
    assert len(clean) <= LONGEST
    assert clean.removesuffix("…") in text


def test_the_schema_is_closed_and_needs_every_member() -> None:
    found = schema()
    assert found["additionalProperties"] is False
    assert found["required"] == list(found["properties"]) == ["justification", "winner", "confidence"]
    assert found["properties"]["winner"]["enum"] == ["A", "B", "tie"]
    assert found["properties"]["confidence"]["enum"] == list(LEVELS)
    assert LLMComparisonResponse.model_fields["justification"].metadata  # the wire holds the same bound


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "Infinity", "[1, NaN]", "{'a': 1}", b"\xff", "", "1" * 5000]
)
def test_json_is_the_standards_json(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json(text)
