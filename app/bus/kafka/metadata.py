"""Metadata of topics with their identity, which aiokafka 0.14 does not ask for (protocol: KIP-516, Kafka 3.1 or newer).

A topic that was deleted and made again has the same name and another id. Without the id, a reader that stood at
offset 100 would go on at 100 when the new topic has grown that far, and never see what is before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

NO_ERROR, UNKNOWN_TOPIC = 0, 3


class _Uuid:
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        taken: bytes = data.read(16)
        return taken


_NO_ID = bytes(16)
_TEXT = CompactString("utf-8")


class _MetadataResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller", Int32),
        (
            "topics",
            CompactArray(
                ("error", Int16),
                ("name", _TEXT),
                ("id", _Uuid),
                ("internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("create", Boolean),
        ("operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[_MetadataRequest]):  # type: ignore[misc]
    """Asks for topics by name and creates none."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        """Encode for the version that the broker knows."""
        return request_struct_class([(_NO_ID, topic, {}) for topic in self._topics], False, False, {})


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker knows it; `error` is Kafka's code."""

    name: str
    id: bytes
    partitions: int
    error: int


def read(response: Any) -> list[Topic]:
    """The topics of a response to `TopicsRequest`."""
    return [
        Topic(name, identity, len(partitions), error)
        for error, name, identity, _, partitions, *_ in response.topics
    ]
