"""What of KafkaBus needs no broker: records as bytes, keys as partitions, and what aiokafka is told about the connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bus.kafka import KafkaBus, KafkaConnection, TopicLayout
from app.bus.kafka.records import CE_ID, ID_HEADER, partition_for, to_headers, to_record
from app.bus.protocol import Record
from app.errors import ConfigurationError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@dataclass
class Message:
    topic: str = "t"
    partition: int = 3
    offset: int = 14
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def crossed(record: Record) -> Record:
    headers = tuple(to_headers(record))
    return to_record(Message(record.topic, key=record.key.encode(), value=record.body, headers=headers))


@settings(deadline=None, derandomize=True)
@given(
    TEXT, TEXT.filter(bool), st.binary(), st.dictionaries(TEXT.filter(lambda name: name != ID_HEADER), TEXT)
)
def test_a_record_crosses_as_bytes_and_comes_back(
    key: str, identity: str, body: bytes, headers: dict[str, str]
) -> None:
    sent = Record("t", key, identity, body, headers)
    assert crossed(sent) == sent


def test_an_id_that_cloudevents_carries_is_not_sent_twice() -> None:
    record = Record("t", "k", "event-1", b"", {CE_ID: "event-1"})
    assert to_headers(record) == [(CE_ID, b"event-1")]
    assert crossed(record) == record


def test_an_id_that_is_not_the_cloudevents_one_survives_beside_it() -> None:
    record = Record("t", "k", "1", b"", {CE_ID: "event-1"})
    assert crossed(record) == record


def test_a_record_of_somebody_else_is_known_by_its_cloudevents_id_or_its_place() -> None:
    assert to_record(Message(headers=((CE_ID, b"event-1"),))).id == "event-1"
    assert to_record(Message()) == Record("t", "", "t/3/14", b"")


def test_bytes_that_are_no_text_do_not_stop_a_partition() -> None:
    record = to_record(Message(key=b"\xff", headers=(("a", b"\xfe"), ("b", None))))
    assert record == Record("t", "\ufffd", "t/3/14", b"", {"a": "\ufffd", "b": ""})


def test_the_partition_of_a_key_never_changes() -> None:
    keys = [b"", b"batch-1", b"batch-2", "prövning".encode(), b"0b9f0a86-8f0e-4d6f-9a7e-0d6a3a1b2c3d"]
    assert [partition_for(key, 8) for key in keys] == GOLDEN


GOLDEN = [0, 2, 0, 2, 6]


def test_certificates_and_credentials_reach_aiokafka() -> None:
    connection = KafkaConnection(
        servers="a:9093, b:9093",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-256",
        username="juxta",
        password="correct horse",
    )
    arguments = connection.arguments()
    context = arguments.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert arguments == {
        "bootstrap_servers": ["a:9093", "b:9093"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "juxta",
        "sasl_plain_password": "correct horse",
    }
    assert "horse" not in repr(connection)


def test_without_security_nothing_of_it_is_given() -> None:
    connection = KafkaConnection(servers="a:9092", username="unused", ca_file="unused.pem")
    assert connection.arguments() == {"bootstrap_servers": ["a:9092"], "security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize(
    ("connection", "key"),
    [
        (KafkaConnection(servers="a", security_protocol="SSL", ca_file="absent.pem"), "kafka.ca_file"),
        (KafkaConnection(servers="a", security_protocol="SSL", cert_file="absent.pem"), "kafka.cert_file"),
        (KafkaConnection(servers="a", security_protocol="SASL_PLAINTEXT"), "kafka.username"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_refuses_to_start_and_names_the_setting(
    connection: KafkaConnection, key: str
) -> None:
    with pytest.raises(ConfigurationError, match=key):
        KafkaBus(connection)


@pytest.mark.parametrize(("replication", "least"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_with_three_replicas_two_must_have_a_record(replication: int, least: str) -> None:
    assert TopicLayout(replication=replication).configuration()["min.insync.replicas"] == least


def test_retention_is_given_in_milliseconds() -> None:
    assert TopicLayout(retention=604_800.0).configuration()["retention.ms"] == "604800000"
