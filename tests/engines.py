"""Real servers for tests and development, without Docker: free ports, data in a temporary folder, ended by process id.

`python -m tests.engines` runs them in the foreground until Ctrl-C. What they need is fetched by `tests/install-engines`.
"""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_DEADLINE = 60.0
PROBE_DEADLINE = 1.0


class EngineMissing(RuntimeError):
    """A test needs a server that cannot start here; it fails and says why, it is never skipped."""


class Server(ABC):
    """One process with a folder. Its ports and data outlive `kill`, so that `launch` brings the same server back."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="juxta-engine-"))
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line that serves from `folder`."""

    @abstractmethod
    def serves(self) -> bool:
        """Whether it answers a real request now."""

    def start(self) -> None:
        """Launch it and return when it serves."""
        self.launch()
        deadline = time.monotonic() + START_DEADLINE
        while not self.serves():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise EngineMissing(f"{type(self).__name__} did not start:\n{self.last_words()}")
            time.sleep(0.05)

    def launch(self) -> None:
        """Start the process and return at once. Call it from the main thread: its end is the end of the server."""
        # A test run that is killed leaves no server behind: the kernel ends it with its parent.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *self.command()], stdout=log, stderr=log, cwd=self.folder
            )

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang, with its connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._signal(signal.SIGCONT)

    @property
    def process_id(self) -> int | None:
        """Its process, while it has one."""
        return None if self._process is None else self._process.pid

    def wait(self) -> None:
        """Return when it ended by itself."""
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """End it for good and forget its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def last_words(self) -> str:
        """The end of what it wrote."""
        log = self.folder / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


class Kafka(Server):
    """A single Kafka node that is its own controller. `servers` takes anybody, `secure_servers` SASL over TLS."""

    JARS = ROOT / ".engines" / "kafka"
    USER, PASSWORD = "juxta", "correct horse"

    def __init__(self, port: int | None = None) -> None:
        super().__init__()
        if shutil.which("java") is None or not (self.JARS / "pom.xml").exists():
            raise EngineMissing("no Kafka here: run tests/install-engines, it says what to install")
        self.port, secure, controller = free_ports(3)
        if port is not None and is_free(port):
            self.port = port
        self.servers = f"127.0.0.1:{self.port}"
        self.secure_servers = f"localhost:{secure}"
        self.authority = self.folder / "authority.pem"
        self._make_certificate()
        properties = self.folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(folder=self.folder, port=self.port, secure=secure, controller=controller)
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
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://localhost:{secure}
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


def is_free(port: int) -> bool:
    """Whether nobody serves there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that nobody used a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@cache
def kafka() -> Kafka:
    """The Kafka that a test run shares, started when it is first asked for."""
    server = Kafka()
    server.start()
    return server


def main() -> None:
    """Serve in the foreground, for people who develop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = Kafka(9092)  # where the documentation looks for it, or another one if that is taken
    server.start()
    print(f"Kafka at {server.servers}, process {server.process_id}, data in {server.folder}")
    print(f"  python run.py --set bus.kind=kafka --set kafka.servers={server.servers}")
    print(f"  or: export JUXTA_BUS__KIND=kafka JUXTA_KAFKA__SERVERS={server.servers}")
    print("Ctrl-C ends it and forgets its data.", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        print()
    finally:
        server.close()


if __name__ == "__main__":
    main()
