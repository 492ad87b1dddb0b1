"""The topics as an AsyncAPI 3.0 document. What its examples show was made by the code that makes the real records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from app.bus.dead_letter import REDRIVES, dead_letter
from app.bus.protocol import Record, Reject, dead_letter_topic
from app.contracts import EventEnvelope, JudgeKind, LLMOrchestratorResponse, Outcome, TokenUsage, Winner
from app.contracts.events import SCHEMA_VERSION, result_event
from app.provider.outcomes import to_record
from app.provider.queue.protocol import QueuedRequest, StoredOutcome
from app.spec.operation import SERVES, Role
from app.spec.schemas import Schema, schemas

# Every header on the wire stands here. A bus adds none of its own to these records: their id is `ce_id`.
RESULT_HEADERS: Mapping[str, str] = {
    "ce_specversion": "Of CloudEvents.",
    "ce_id": "The event_id: the same on every copy, so a reader that keeps it handles each event once.",
    "ce_source": "The service that made the event.",
    "ce_type": "The type of event; also event_type in the body.",
    "ce_time": "When the comparison ended.",
    "content-type": "Of the body.",
    "traceparent": "W3C trace context of the request, when it came with one.",
}
DEAD_HEADERS: Mapping[str, str] = {
    "dead-topic": "Where the record was; redriving publishes it there again.",
    "dead-group": "The consumer group that could not handle it.",
    "dead-error": "The type of the error and the line that raised it, never its text.",
    "dead-reason": "Why, in words, when the handler rejected it; never a part of the record.",
}
REDRIVEN_HEADERS: Mapping[str, str] = {
    REDRIVES: "How often this record was a dead letter and was sent again; absent when never.",
}
OPTIONAL_HEADERS = frozenset({"traceparent"})
_EVENT = TypeAdapter(EventEnvelope[LLMOrchestratorResponse])
_SASL = {"PLAIN": "plain", "SCRAM-SHA-256": "scramSha256", "SCRAM-SHA-512": "scramSha512"}
_DESCRIPTION = f"""\
The callbacks of Juxta: how each comparison that was answered 202 ended (the HTTP side: `/openapi.json`).

Delivery is at least once. `event_id` is the same on every copy of an event and `correlation_id` names the comparison; \
a comparison has exactly one outcome, so either is a key to handle it once. Record first, then commit the offset. \
Order holds per key, and the key is the `callback_key` of the request (its correlation_id when it names none).

Ignore unknown fields; park a record whose major `schema_version` you do not know (this document: {SCHEMA_VERSION})."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The Kafka behind the topics; `retention` (seconds), partitions and replicas are of topics that Juxta makes."""

    servers: Sequence[str]
    security_protocol: str
    sasl_mechanism: str
    partitions: int
    replicas: int
    retention: float


def asyncapi(
    role: Role = "all", *, topics: Sequence[str], consumed: str, group: str, broker: Broker | None
) -> dict[str, Any]:
    """The document of a process of this role.

    The provider sends to `topics`; cj, in `group`, receives from `consumed`. Without a broker the topics live inside
    the process and no server is named.
    """
    found, components = schemas({"result": (_EVENT, "serialization")})
    sends, receives = "provider" in SERVES[role], "cj" in SERVES[role]
    channels = {topic: _channel(topic, "result", "Outcomes of comparisons.", broker) for topic in topics}
    dead = dead_letter_topic(consumed)
    if receives:
        channels.setdefault(consumed, _channel(consumed, "result", "Outcomes of comparisons.", broker))
        channels[dead] = _channel(dead, "deadLetter", f"What group `{group}` could not handle.", broker)
    operations: dict[str, Any] = {}
    if sends:
        for number, topic in enumerate(topics):
            name = "publishResult" if number == 0 else f"publishResult{number + 1}"
            words = (
                "Publish the stored outcome of a comparison that named this callback_topic, at least once."
            )
            operations[name] = _operation("send", topic, words)
    if receives:
        words = (
            "Record each result once. What can never be handled goes to the dead letters; the flow goes on."
        )
        operations["recordResult"] = _operation("receive", consumed, words) | {
            "bindings": {"kafka": {"groupId": {"type": "string", "const": group}, "bindingVersion": "0.5.0"}}
        }
        operations["buryResult"] = _operation("send", dead, "Keep what cannot be handled, with the reason.")
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "id": "urn:juxta:asyncapi",
        "info": {
            "title": "Juxta",
            "version": SCHEMA_VERSION,
            "description": _DESCRIPTION if broker else f"{_DESCRIPTION}\n\n{_INSIDE}",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": _messages(found["result"], dead=receives), "schemas": dict(components)},
    }
    if broker is not None:
        document["servers"] = dict(_servers(broker))
        if broker.security_protocol.startswith("SASL"):
            document["components"]["securitySchemes"] = {"sasl": {"type": _SASL[broker.sasl_mechanism]}}
    return document


_INSIDE = "This process runs with `bus.kind = memory`: its topics live inside it, and no other program can read them."


def _servers(broker: Broker) -> Iterator[tuple[str, Any]]:
    secure = broker.security_protocol in {"SSL", "SASL_SSL"}
    for number, host in enumerate(broker.servers, start=1):
        server: dict[str, Any] = {
            "host": host,
            "protocol": "kafka-secure" if secure else "kafka",
            "description": f"security.protocol {broker.security_protocol}.",
        }
        if broker.security_protocol.startswith("SASL"):
            server["security"] = [{"$ref": "#/components/securitySchemes/sasl"}]
        yield f"kafka{number}", server


def _channel(topic: str, message: str, words: str, broker: Broker | None) -> dict[str, Any]:
    binding: dict[str, Any] = {"topic": topic, "bindingVersion": "0.5.0"}
    if broker is not None:
        binding |= {
            "partitions": broker.partitions,
            "replicas": broker.replicas,
            "topicConfiguration": {
                "cleanup.policy": ["delete"],
                "retention.ms": round(broker.retention * 1000),
            },
        }
    return {
        "address": topic,
        "description": words,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": binding},
    }


def _operation(action: str, topic: str, words: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{topic}"}, "summary": words}


def _messages(payload: Schema, *, dead: bool) -> dict[str, Any]:
    record = example()
    headers = {**RESULT_HEADERS, **REDRIVEN_HEADERS}
    messages = {
        "result": _message("How one comparison ended", record, payload, headers, required=set(RESULT_HEADERS))
    }
    if dead:
        letter = dead_letter(record, "cj", Reject("This event belongs to no batch that is known here."))
        headers = {**headers, **DEAD_HEADERS}
        messages["deadLetter"] = _message(
            "A record that could not be handled, as it was",
            letter,
            {"description": "The bytes of the record, whatever they are; as a rule those of a result."},
            headers,
            required=set(DEAD_HEADERS),
        )
    return messages


def _message(
    title: str, record: Record, payload: Schema, headers: Mapping[str, str], *, required: set[str]
) -> dict[str, Any]:
    return {
        "name": record.topic,
        "title": title,
        "contentType": "application/json",
        "correlationId": {"location": "$message.payload#/correlation_id"},
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string", "description": words} for name, words in headers.items()},
            "required": sorted(required - OPTIONAL_HEADERS),
        },
        "payload": payload,
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "The callback_key: order holds per key."},
                "bindingVersion": "0.5.0",
            }
        },
        "examples": [
            {
                "name": "example",
                "headers": dict(record.headers),
                "payload": json.loads(record.body),
            }
        ],
    }


def example() -> Record:
    """A record as the provider publishes it, by its own code."""
    ended = datetime(2026, 11, 25, 10, 0, 4, tzinfo=UTC)
    correlation_id = UUID("0b7e3f0c-6a5d-4a59-9c27-0d2f5f6b8a11")
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    request = QueuedRequest(
        queue_id=UUID("6f2b5d0e-7f4f-5d7c-9a0e-4d8f2f1f6a10"),
        correlation_id=correlation_id,
        principal="local",
        lane="rules/panel-v1/balanced",
        body=b"",
        fingerprint=b"",
        callback_topic="huleedu.llm_provider.comparison_result.v1",
        callback_key="batch-7",
        traceparent=traceparent,
    )
    response = LLMOrchestratorResponse(
        request_id=request.queue_id,
        correlation_id=correlation_id,
        status=Outcome.SUCCEEDED,
        winner=Winner.ESSAY_A,
        justification="Essay A explains its reasons; essay B only states them.",
        confidence=0.82,
        provider="rules",
        model="panel-v1/balanced",
        judge_kind=JudgeKind.RULES,
        token_usage=TokenUsage(),
        response_time_ms=12,
        metadata={"pair": 7},
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        attempts=1,
        requested_at=datetime(2026, 11, 25, 10, 0, 0, tzinfo=UTC),
        completed_at=ended,
    )
    event = result_event(response, traceparent=traceparent)
    return to_record(request, StoredOutcome(Outcome.SUCCEEDED, event.model_dump_json().encode()))
