"""Thirty-five kinds of bad events, each made out of a sound one. What is no longer wanted is parked; some must pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from app.cj.batch import comparison_id

STRANGER = UUID("00000000-0000-4000-8000-000000000001")
NEIGHBOUR = UUID("00000000-0000-4000-8000-000000000002")
"""A batch of somebody else, whose comparisons were planned and wait."""
LONGEST = 990_000
"""Bytes; with the rest of the event about what a record may hold."""


@dataclass(frozen=True)
class Kind:
    """How the bytes are made from those of a sound event, and what the reason says; None: it must pass.

    `late`: the sound event was recorded before, and what passes changes nothing. `tombstone`: on Kafka it has no value.
    """

    body: Callable[[bytes], bytes]
    reason: str | None
    late: bool = False
    tombstone: bool = False


def _event(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Change the envelope; whatever json can say may come of it."""

    def changed(sound: bytes) -> bytes:
        event = json.loads(sound)
        change(event)
        return json.dumps(event).encode()

    return changed


def _with(**fields: object) -> Callable[[bytes], bytes]:
    return _event(lambda event: event.update(fields))


def _data(**fields: object) -> Callable[[bytes], bytes]:
    return _event(lambda event: event["data"].update(fields))


def _without(name: str) -> Callable[[bytes], bytes]:
    return _event(lambda event: event.pop(name))


def _token(name: str, token: bytes) -> Callable[[bytes], bytes]:
    """Put a token into `data` that no JSON writer would write."""
    marked = _data(**{name: "TOKEN"})
    return lambda sound: marked(sound).replace(b'"TOKEN"', token)


def _twice(name: str, first: str) -> Callable[[bytes], bytes]:
    """The key stands there twice; the last one is the sound one."""
    return lambda sound: sound.replace(b'"data":{', f'"data":{{"{name}":{first},'.encode(), 1)


def _stranger(event: dict[str, Any]) -> None:
    event["correlation_id"] = event["data"]["correlation_id"] = str(STRANGER)


def _neighbour(event: dict[str, Any]) -> None:
    event["correlation_id"] = event["data"]["correlation_id"] = str(comparison_id(NEIGHBOUR, 1))


def _torn(event: dict[str, Any]) -> None:
    event["correlation_id"] = str(uuid4())


PROBLEM = {"type": "urn:juxta:problem:refused", "title": "No", "status": 502, "detail": "no verdict"}
UNDECODABLE = "does not decode"

KINDS: Mapping[str, Kind] = {
    "empty": Kind(lambda _: b"", UNDECODABLE),
    "not JSON": Kind(lambda _: b"not an event", UNDECODABLE),
    "UTF-16": Kind(lambda sound: sound.decode().encode("utf-16"), UNDECODABLE),
    "broken UTF-8": Kind(lambda sound: sound[:-2] + b"\xff\xfe}}", UNDECODABLE),
    "truncated": Kind(lambda sound: sound[: len(sound) // 2], UNDECODABLE),
    "two events in one": Kind(lambda sound: sound + sound, UNDECODABLE),
    "JSON null": Kind(lambda _: b"null", UNDECODABLE),
    "tombstone": Kind(lambda _: b"", UNDECODABLE, tombstone=True),
    "string": Kind(lambda sound: json.dumps(sound.decode()).encode(), UNDECODABLE),
    "no event_id": Kind(_without("event_id"), "event_id"),
    "no correlation_id": Kind(_without("correlation_id"), "correlation_id"),
    "no data": Kind(_without("data"), "data"),
    "id that is none": Kind(_data(correlation_id="42"), "data.correlation_id"),
    "unknown id": Kind(_event(_stranger), "unknown correlation_id"),
    "another tenant's id": Kind(_event(_neighbour), "foreign key"),
    "envelope of another id": Kind(_event(_torn), "correlation_id"),
    "unknown type": Kind(_with(event_type="huleedu.weather.v1"), "unknown event_type"),
    "unknown major version": Kind(_with(schema_version="2.0"), "unknown major version 2.0"),
    "version that is none": Kind(_with(schema_version="latest"), "schema_version"),
    "later minor version": Kind(_with(schema_version="1.7"), None),
    "extra fields": Kind(_event(lambda e: (e.update(more=1), e["data"].update(more={"x": [1]}))), None),
    "both outcome and error": Kind(_data(error=PROBLEM), "data"),
    "neither outcome nor error": Kind(_data(winner=None), "data"),
    "unknown status": Kind(_data(status="perhaps"), "data.status"),
    "unknown winner": Kind(_data(winner="essay_c"), "data.winner"),
    "confidence beyond its scale": Kind(_data(confidence=5.0), "data.confidence"),
    "NaN": Kind(_token("confidence", b"NaN"), UNDECODABLE),
    "1e999": Kind(_token("cost_usd", b"1e999"), UNDECODABLE),
    "negative cost": Kind(_data(cost_usd=-1.0), "data.cost_usd"),
    "lone surrogate": Kind(_token("justification", b'"\\ud800"'), UNDECODABLE),
    "NUL": Kind(_data(justification="a\0b"), "data.justification"),
    "justification of 1 MB": Kind(_data(justification="x" * LONGEST), "data.justification"),
    "depth of 100,000": Kind(
        _token("metadata", b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), UNDECODABLE
    ),
    "same event_id with another body": Kind(
        _data(winner="tie", justification="another", cost_usd=7.0), None, late=True
    ),
    "duplicate keys": Kind(_twice("winner", '"essay_c"'), None),
}
