"""A real server as a process with a folder: started, killed, hung up and started again."""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
        self.wait_until_it_serves()

    def wait_until_it_serves(self) -> None:
        """After `launch`.

        :raises EngineMissing: it ended, or took too long; it is ended then.
        """
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


def is_free(port: int) -> bool:
    """Whether nobody serves there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def port_of(wish: int | None, free: int) -> int:
    """The port wished for, unless somebody serves there; then the free one."""
    return wish if wish is not None and is_free(wish) else free


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
