"""Redis with an append-only file."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from typing import Literal

from tests.engines.server import PROBE_DEADLINE, EngineMissing, Server, free_ports, port_of


class Redis(Server):
    """One node. What it has acknowledged outlives its kill; with `appendfsync` "always" it outlives the machine's."""

    def __init__(
        self,
        port: int | None = None,
        *,
        appendfsync: Literal["always", "everysec", "no"] = "always",
        options: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if shutil.which("redis-server") is None:
            raise EngineMissing("no redis-server here: run tests/install-engines, it says what to install")
        self.port = port_of(port, *free_ports(1))
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = ("--appendonly", "yes", "--appendfsync", appendfsync, "--save", "", *options)

    def command(self) -> Sequence[str]:
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", *self._options]

    def serves(self) -> bool:
        """Ask for an echo: while it still reads its file it answers that it is loading."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), PROBE_DEADLINE) as connection:
                connection.settimeout(PROBE_DEADLINE)
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
