"""Where Kafka is, how to speak to it, and how its topics and groups are used. Values only."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from app.errors import ConfigurationError

RECORD_LIMIT = 1_000_000
"""Bytes of key, body and headers that `publish` takes."""

TOPIC_LIMIT = 2_097_152
"""`max.message.bytes` of topics made here: a dead letter is a record and what happened to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """The broker, as `[kafka]` in the settings names it; file names and names that are empty are not used."""

    servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def arguments(self) -> dict[str, Any]:
        """What every client of aiokafka is given.

        :raises ConfigurationError: a certificate cannot be read, or credentials are missing.
        """
        arguments: dict[str, Any] = {
            "bootstrap_servers": [server.strip() for server in self.servers.split(",")],
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol in {"SSL", "SASL_SSL"}:
            arguments["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL_"):
            if not (self.username and self.password):
                raise ConfigurationError(
                    f"kafka.username, kafka.password: {self.security_protocol} needs both"
                )
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.username
            arguments["sasl_plain_password"] = self.password
        return arguments

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:  # SSLError is one
            raise ConfigurationError(f"kafka.ca_file: '{self.ca_file}' cannot be used ({error})") from error
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file or None)
            except OSError as error:
                raise ConfigurationError(
                    f"kafka.cert_file, kafka.key_file: '{self.cert_file}' cannot be used ({error})"
                ) from error
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLayout:
    """How topics are made; those that exist are taken as they are. `retention` is in seconds."""

    partitions: int = 8
    replication: int = 1
    retention: float = 604_800.0

    def configuration(self) -> dict[str, str]:
        """The topic's own settings. With three replicas, an acknowledged record is held by two brokers at least."""
        return {
            "retention.ms": str(round(self.retention * 1000)),
            "max.message.bytes": str(TOPIC_LIMIT),
            "min.insync.replicas": str(min(2, max(1, self.replication - 1))),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """How a process behaves in its groups; seconds.

    A process that is silent for `session_timeout` has left. `poll_limit` bounds how long a member may go without asking
    for records; it asks all the time, however long its handlers take.
    """

    session_timeout: float = 10.0
    heartbeat: float = 1.0
    poll_limit: float = 300.0
