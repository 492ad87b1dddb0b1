"""Records to Kafka's bytes and back, and which partition a key belongs to."""

from __future__ import annotations

from typing import Protocol
from zlib import crc32

from app.bus.protocol import Record

ID_HEADER = "juxta-id"
"""Holds a record's id when its CloudEvents header `ce_id` does not; nothing is sent twice."""

CE_ID = "ce_id"

Header = tuple[str, bytes]


class Message(Protocol):
    """What is read of aiokafka's ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def partition_for(key: bytes, partitions: int) -> int:
    """Fixed for ever: another function would send a key's next record past those that wait in its old partition.

    It is the one of InMemoryBus, and what librdkafka calls `consistent`.
    """
    return crc32(key) % partitions


def to_headers(record: Record) -> list[Header]:
    """Kafka headers of a record."""
    headers = [(name, text.encode()) for name, text in record.headers.items()]
    if record.headers.get(CE_ID) != record.id:
        headers.append((ID_HEADER, record.id.encode()))
    return headers


def to_record(message: Message) -> Record:
    """Read a record. Those of others have no id of ours: `ce_id` then, or else their place; a missing key is empty.

    Bytes that are no UTF-8 in key or headers become U+FFFD; nothing here can stop a partition.
    """
    headers = {name: (value or b"").decode(errors="replace") for name, value in message.headers}
    place = f"{message.topic}/{message.partition}/{message.offset}"
    identity = headers.pop(ID_HEADER, None) or headers.get(CE_ID) or place
    key = (message.key or b"").decode(errors="replace")
    return Record(message.topic, key, identity, message.value or b"", headers)


def size_of(key: bytes, body: bytes, headers: list[Header]) -> int:
    """Bytes of a record without Kafka's framing."""
    return len(key) + len(body) + sum(len(name) + len(value) for name, value in headers)
