"""The fake as a process of its own, for tests that must not share its event loop."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Sequence
from typing import Any

from tests.engines.server import PROBE_DEADLINE, ROOT, Server, free_ports


class FakeLLMProcess(Server):
    """`python -m tests.fake_llm` with these options, as a server of the tests: `start`, `close`."""

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options
        self.port, self._control = free_ports(2)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        ports = ["--port", str(self.port), "--control-port", str(self._control)]
        return ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.fake_llm", *ports, *self._options]

    def serves(self) -> bool:
        try:
            self.stats()
        except OSError:
            return False
        return True

    def stats(self) -> dict[str, Any]:
        """What it saw."""
        found: dict[str, Any] = self._ask("GET", "stats")
        return found

    def misbehave(self, name: str, **how: object) -> None:
        """From now on; `how` as the fields of `Plan`."""
        self._ask("POST", "misbehave", {"name": name, **how})

    def behave(self) -> None:
        """End all misbehaviour."""
        self._ask("DELETE", "misbehave")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self._control}/_fake/{path}"
        request = urllib.request.Request(url, data, method=method)
        with urllib.request.urlopen(request, timeout=PROBE_DEADLINE) as answer:
            return json.load(answer)
