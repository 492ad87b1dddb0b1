"""What may cross the wire, and that its published description is the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts import (
    EventEnvelope,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMOrchestratorResponse,
    Outcome,
    Problem,
    is_legal_topic,
)
from app.contracts.schemas import MODELS, schema

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
EXAMPLES = sorted((SCHEMAS / "examples").glob("*.json"))

PLAIN: dict[str, Any] = {
    "user_prompt": "Which is better?",
    "essay_a": "One.",
    "essay_b": "Two.",
    "correlation_id": "5b0d6b8e-6a51-4f0e-9a0c-3c2f6a1d9e01",
}


def body(**changes: Any) -> bytes:
    return json.dumps(PLAIN | changes).encode()


def refused(raw: bytes) -> set[str]:
    with pytest.raises(ValidationError) as caught:
        LLMComparisonRequest.model_validate_json(raw)
    return {".".join(map(str, fault["loc"])) for fault in caught.value.errors()}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["expires_in", "priority"])
def test_numbers_that_are_none_are_refused(number: str, field: str) -> None:
    raw = body(**{field: "HERE"}).replace(b'"HERE"', number.encode())
    refused(raw)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_metadata_holds_no_number_that_json_cannot_say(number: str) -> None:
    refused(body(metadata={"x": "HERE"}).replace(b'"HERE"', number.encode()))


@pytest.mark.parametrize("field", ["user_prompt", "essay_a", "essay_b", "callback_topic", "callback_key"])
def test_nul_is_refused_and_the_field_named(field: str) -> None:
    assert refused(body(**{field: "a\x00b"})) == {field}


def test_nul_in_metadata_is_refused() -> None:
    assert refused(body(metadata={"x": ["a\x00b"]})) == {"metadata"}


@pytest.mark.parametrize("field", ["essay_a", "callback_key"])
def test_lone_surrogates_are_refused(field: str) -> None:
    refused(body(**{field: "HERE"}).replace(b"HERE", rb"\ud800"))


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'"text"'])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    refused(raw)


def test_unknown_fields_and_overrides_are_refused_by_name() -> None:
    assert refused(body(essay_c="Three.")) == {"essay_c"}
    overrides = {"seed": 3, "reasoning_effort": "extreme"}
    assert refused(body(llm_config_overrides=overrides)) == {
        "llm_config_overrides.seed",
        "llm_config_overrides.reasoning_effort",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("essay_a", ""),
        ("essay_b", 7),
        ("correlation_id", "42"),
        ("priority", 10),
        ("priority", -1),
        ("expires_in", 0),
        ("expires_in", 61 * 86400),
        ("callback_key", ""),
        ("callback_key", "k" * 201),
        ("metadata", []),
    ],
)
def test_values_out_of_range_are_refused_by_name(field: str, value: object) -> None:
    assert refused(body(**{field: value})) == {field}


def test_metadata_may_hold_4_kilobytes_and_no_more() -> None:
    fitting = {"x": "å" * 2044}  # 2 bytes each, and 8 for the rest
    assert LLMComparisonRequest.model_validate_json(body(metadata=fitting)).metadata == fitting
    assert refused(body(metadata={"x": "å" * 2045})) == {"metadata"}


def test_a_winner_that_nobody_knows_is_refused_and_never_read_as_essay_a() -> None:
    example = json.loads((SCHEMAS / "examples" / "comparison-response.json").read_text())
    for winner in ("Essay A", "a", "", None, "draw"):
        with pytest.raises(ValidationError):
            LLMComparisonResponse.model_validate(example | {"winner": winner})


@pytest.mark.parametrize("confidence", [-0.1, 1.1, 4, float("nan"), None])
def test_confidence_is_a_figure_from_0_to_1(confidence: float | None) -> None:
    example = json.loads((SCHEMAS / "examples" / "comparison-response.json").read_text())
    with pytest.raises(ValidationError):
        LLMComparisonResponse.model_validate(example | {"confidence": confidence})


def outcome(case: str) -> dict[str, Any]:
    event = json.loads((SCHEMAS / "examples" / f"comparison-result.{case}.json").read_text())
    data: dict[str, Any] = event["data"]
    return data


def test_an_outcome_has_a_verdict_or_an_error_and_never_both_or_neither() -> None:
    good, bad = outcome("succeeded"), outcome("failed")
    for wrong in (
        good | {"error": bad["error"]},
        good | {"winner": None},
        bad | {"error": None},
        bad | {"winner": "tie"},
        bad | {"confidence": 0.5},
    ):
        with pytest.raises(ValidationError):
            LLMOrchestratorResponse.model_validate(wrong)


def test_readers_of_events_ignore_what_they_do_not_know() -> None:
    event = json.loads((SCHEMAS / "examples" / "comparison-result.succeeded.json").read_text())
    event["colour"] = event["data"]["colour"] = "blue"
    read = EventEnvelope[LLMOrchestratorResponse].model_validate(event)
    assert read.data.status is Outcome.SUCCEEDED
    assert read.major_version == 1


def test_the_fingerprint_ignores_spelling_and_sees_every_change() -> None:
    plain = LLMComparisonRequest.model_validate_json(body())
    spelt = LLMComparisonRequest.model_validate_json(
        json.dumps(dict(reversed(PLAIN.items())) | {"priority": 5, "callback_topic": None}, indent=3).encode()
    )
    assert plain.fingerprint() == spelt.fingerprint()
    for change in ({"essay_a": "One!"}, {"priority": 6}, {"metadata": {"a": 1}}, {"callback_topic": "t"}):
        assert LLMComparisonRequest.model_validate_json(body(**change)).fingerprint() != plain.fingerprint()


def test_the_queue_id_is_the_same_on_every_repeat_and_differs_by_principal() -> None:
    request = LLMComparisonRequest.model_validate_json(body())
    again = LLMComparisonRequest.model_validate_json(body())
    assert request.queue_id("ann") == again.queue_id("ann") != request.queue_id("bob")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_any_other_text_survives_the_wire(text: str) -> None:
    request = LLMComparisonRequest(user_prompt=text, essay_a=text, essay_b=text, correlation_id=uuid4())
    assert LLMComparisonRequest.model_validate_json(request.model_dump_json()) == request


@given(st.text(max_size=300))
def test_topic_names_are_those_that_kafka_takes(name: str) -> None:
    kafka = 0 < len(name) < 250 and all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    assert is_legal_topic(name) == (kafka and name not in {".", ".."})


@pytest.mark.parametrize("name", MODELS)
def test_the_published_schema_is_the_one_in_force(name: str) -> None:
    published = (SCHEMAS / f"{name}.json").read_text()
    assert published == schema(name), "run: python -m app.contracts.schemas docs/schemas"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_published_example_is_valid_and_round_trips(path: Path) -> None:
    model = MODELS[path.name.split(".")[0]]
    content = json.loads(path.read_text())
    read = model.model_validate_json(path.read_bytes())
    assert json.loads(read.model_dump_json(exclude_unset=True)) == content
    assert model.model_validate_json(read.model_dump_json()) == read


def test_there_is_an_example_of_everything() -> None:
    assert {path.name.split(".")[0] for path in EXAMPLES} == set(MODELS)


def test_a_problem_names_its_code_and_echoes_no_value() -> None:
    problem = Problem(
        type="urn:juxta:problem:queue-full",
        title="Full",
        status=429,
        detail="Later",
        correlation_id=UUID(int=1),
    )
    assert problem.code == "queue-full"
