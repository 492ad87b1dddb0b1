"""Kafka: one node that is its own controller."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence

from tests.engines.server import (
    PROBE_DEADLINE,
    ROOT,
    START_DEADLINE,
    EngineMissing,
    Server,
    free_ports,
    port_of,
)


class Kafka(Server):
    """A single Kafka node that is its own controller. `servers` takes anybody, `secure_servers` SASL over TLS.

    It tells whoever asks at `servers` to go on at `advertised`, a port of its own or of somebody in between.
    """

    JARS = ROOT / ".engines" / "kafka"
    USER, PASSWORD = "juxta", "correct horse"

    def __init__(self, port: int | None = None, *, advertised: int | None = None) -> None:
        super().__init__()
        if shutil.which("java") is None or not (self.JARS / "pom.xml").exists():
            raise EngineMissing("no Kafka here: run tests/install-engines, it says what to install")
        free, secure, controller = free_ports(3)
        self.port = port_of(port, free)
        self.servers = f"127.0.0.1:{self.port}"
        self.secure_servers = f"localhost:{secure}"
        self.authority = self.folder / "authority.pem"
        self._make_certificate()
        properties = self.folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(
                folder=self.folder,
                port=self.port,
                advertised=advertised or self.port,
                secure=secure,
                controller=controller,
            )
        )
        self._java("kafka.tools.StorageTool", "format", "-t", "JuxtaJuxtaJuxtaJuxtaJg", "-c", str(properties),
                   "--add-scram", f"SCRAM-SHA-512=[name={self.USER},password={self.PASSWORD}]")  # fmt: skip

    def command(self) -> Sequence[str]:
        return [*JAVA, "-Xmx512m", "-cp", f"{self.JARS}/*", "kafka.Kafka", "server.properties"]

    def serves(self) -> bool:
        """Ask for metadata: a broker that still replays its log has an open port, but names no broker."""
        request = struct.pack(">hhihi", 3, 1, 0, -1, 0)  # Metadata, version 1, no client id, no topics
        try:
            with socket.create_connection(("127.0.0.1", self.port), PROBE_DEADLINE) as connection:
                connection.settimeout(PROBE_DEADLINE)
                connection.sendall(struct.pack(">i", len(request)) + request)
                answer = connection.makefile("rb").read(12)
        except OSError:
            return False
        brokers: int = struct.unpack(">i", answer[8:])[0] if len(answer) == 12 else 0
        return brokers > 0

    def open(self) -> bool:
        """Whether its port takes connections: the first sign of life after a crash."""
        try:
            socket.create_connection(("127.0.0.1", self.port), PROBE_DEADLINE).close()
        except OSError:
            return False
        return True

    def _make_certificate(self) -> None:
        common = [
            "-keystore",
            "keys.p12",
            "-storetype",
            "PKCS12",
            "-storepass",
            "changeit",
            "-alias",
            "broker",
        ]
        self._run(["keytool", "-genkeypair", *common, "-keyalg", "EC", "-dname", "CN=localhost", "-validity", "365",
                   "-ext", "SAN=dns:localhost,ip:127.0.0.1", "-ext", "BC=ca:true"])  # fmt: skip
        self._run(["keytool", "-exportcert", *common, "-rfc", "-file", str(self.authority)])

    def _java(self, *arguments: str) -> None:
        self._run([*JAVA, "-cp", f"{self.JARS}/*", *arguments])

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=START_DEADLINE, check=False
        )
        if done.returncode:
            raise EngineMissing(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


# Measured: with the settings marked so a node serves 4 to 6 s after kill -9, with the defaults 13 to 15 s.
JAVA = [
    "java",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised},SECURE://localhost:{secure}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.location={folder}/keys.p12
ssl.keystore.type=PKCS12
ssl.keystore.password=changeit
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# members of tests come and go quickly
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
# back soon after kill -9
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
controller.quorum.election.timeout.ms=300
controller.quorum.fetch.timeout.ms=600
initial.broker.registration.timeout.ms=20000
"""
