"""The document of the topics: its references hold, and real records and events are what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.bus.dead_letter import again, dead_letter
from app.bus.protocol import Reject
from app.contracts import COMPARISON_RESULT_TOPIC, EventEnvelope, LLMOrchestratorResponse
from app.documents import asyncapi_of, text
from app.spec.asyncapi import DEAD_HEADERS, OPTIONAL_HEADERS, RESULT_HEADERS, example
from app.spec.operation import Role
from tests.flow.house import settings_in
from tests.spec.test_openapi import references, resolve

DOCS = Path(__file__).parents[2] / "docs"
EVENTS = sorted((DOCS / "schemas" / "examples").glob("comparison-result.*.json"))
KAFKA = "bus.kind=kafka"


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return asyncapi_of(settings_in(tmp_path, KAFKA))


def payload_schema(document: dict[str, Any], message: str = "result") -> dict[str, Any]:
    payload: dict[str, Any] = document["components"]["messages"][message]["payload"]
    return payload | {"components": document["components"]}


def test_it_has_what_asyncapi_3_asks_for_and_every_reference_leads_somewhere(
    document: dict[str, Any],
) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    for reference in references(document):
        resolve(document, reference)
    for channel in document["channels"].values():
        assert channel["messages"]
        assert channel["bindings"]["kafka"]["topic"] == channel["address"]
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert resolve(document, operation["channel"]["$ref"])
    for server in document["servers"].values():
        assert {"host", "protocol"} <= set(server)


def test_the_topics_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path, KAFKA, f'provider.topics=["{COMPARISON_RESULT_TOPIC}", "other"]', "cj.group=readers"
    )
    document = asyncapi_of(settings)
    assert set(document["channels"]) == {COMPARISON_RESULT_TOPIC, "other", f"{COMPARISON_RESULT_TOPIC}.dead"}
    group = document["operations"]["recordResult"]["bindings"]["kafka"]["groupId"]
    assert group["const"] == "readers"


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        ("all", {"publishResult", "recordResult", "buryResult"}),
        ("provider", {"publishResult"}),
        ("cj", {"recordResult", "buryResult"}),
    ],
)
def test_a_role_sends_and_receives_what_it_does_and_nothing_else(
    tmp_path: Path, role: Role, actions: set[str]
) -> None:
    document = asyncapi_of(settings_in(tmp_path, KAFKA), role)
    assert set(document["operations"]) == actions
    assert (f"{COMPARISON_RESULT_TOPIC}.dead" in document["channels"]) == (role != "provider")
    for reference in references(document):
        resolve(document, reference)


def test_servers_and_how_to_reach_them_come_from_the_settings(tmp_path: Path) -> None:
    document = asyncapi_of(
        settings_in(
            tmp_path,
            KAFKA,
            "kafka.servers=one:9092, two:9092",
            "kafka.security_protocol=SASL_SSL",
            "kafka.sasl_mechanism=SCRAM-SHA-256",
            "kafka.username=juxta",
            "kafka.password=secret",
            "kafka.retention=60",
        )
    )
    assert [server["host"] for server in document["servers"].values()] == ["one:9092", "two:9092"]
    assert {server["protocol"] for server in document["servers"].values()} == {"kafka-secure"}
    assert document["components"]["securitySchemes"]["sasl"] == {"type": "scramSha256"}
    topic = document["channels"][COMPARISON_RESULT_TOPIC]["bindings"]["kafka"]
    assert topic["topicConfiguration"]["retention.ms"] == 60_000
    assert "secret" not in text(document)


def test_on_the_memory_bus_no_server_is_named_and_the_document_says_why(tmp_path: Path) -> None:
    document = asyncapi_of(settings_in(tmp_path))
    assert "servers" not in document
    assert "no other program can read them" in document["info"]["description"]


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_every_published_example_of_an_event_is_what_the_document_says(
    document: dict[str, Any], path: Path
) -> None:
    validator = jsonschema_rs.validator_for(payload_schema(document), validate_formats=True)
    event = json.loads(path.read_text(encoding="utf-8"))
    validator.validate(event)
    read = EventEnvelope[LLMOrchestratorResponse].model_validate(event)
    validator.validate(json.loads(read.model_dump_json()))
    assert not validator.is_valid(event | {"event_id": 7})


def test_the_headers_are_those_of_a_real_record(document: dict[str, Any]) -> None:
    record = example()
    assert set(record.headers) == set(RESULT_HEADERS)
    described = document["components"]["messages"]["result"]["headers"]
    assert set(described["properties"]) == {
        *RESULT_HEADERS,
        *again(dead_letter(record, "cj", Reject(""))).headers,
    }
    assert set(described["required"]) == set(RESULT_HEADERS) - OPTIONAL_HEADERS
    assert record.headers["ce_id"] == record.id == json.loads(record.body)["event_id"]


def test_the_headers_of_a_dead_letter_are_those_of_a_real_one(document: dict[str, Any]) -> None:
    letter = dead_letter(example(), "cj", Reject("no such batch"))
    assert set(letter.headers) == {*RESULT_HEADERS, *DEAD_HEADERS}
    twice = dead_letter(again(letter), "cj", Reject("no such batch"))
    described = document["components"]["messages"]["deadLetter"]["headers"]
    assert set(described["properties"]) == set(twice.headers)
    assert document["channels"][letter.topic]["address"] == letter.topic


def test_the_examples_in_the_document_are_what_it_says(document: dict[str, Any]) -> None:
    for name, message in document["components"]["messages"].items():
        (shown,) = message["examples"]
        jsonschema_rs.validator_for(message["headers"]).validate(shown["headers"])
        jsonschema_rs.validator_for(payload_schema(document, name)).validate(shown["payload"])


def test_the_committed_copy_is_the_document_in_force(document: dict[str, Any]) -> None:
    committed = (DOCS / "asyncapi.json").read_text(encoding="utf-8")
    hint = "run: python run.py spec asyncapi --set bus.kind=kafka > docs/asyncapi.json"
    assert committed == text(document), hint
