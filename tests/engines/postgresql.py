"""PostgreSQL, which refuses to run as root: it then runs as the user that its package made."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.engines.server import PROBE_DEADLINE, START_DEADLINE, EngineMissing, Server, free_ports, port_of

USER = "postgres"


class PostgreSQL(Server):
    """One cluster. `database` makes a new, empty database in it."""

    def __init__(self, port: int | None = None, *, fsync: bool = True) -> None:
        super().__init__()
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
        found = programs / "postgres" if programs else shutil.which("postgres")
        if found is None:
            raise EngineMissing("no PostgreSQL here: run tests/install-engines, it says what to install")
        self._programs = Path(found).parent
        self._as_owner: Sequence[str] = ()
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._as_owner = (
                "setpriv",
                f"--reuid={USER}",
                f"--regid={USER}",
                "--clear-groups",
                "--pdeathsig=KILL",
            )
        self.port = port_of(port, *free_ports(1))
        self._fsync = "on" if fsync else "off"
        self._run(
            str(self._programs / "initdb"), "-D", "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"
        )

    @property
    def url(self) -> str:
        """Where its first database is."""
        return self.url_of(USER)

    def url_of(self, database: str) -> str:
        """Where one of its databases is."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def command(self) -> Sequence[str]:
        return [*self._as_owner, str(self._programs / "postgres"), "-D", "data", "-p", str(self.port), "-k", str(self.folder),
                "-c", "listen_addresses=127.0.0.1", "-c", f"fsync={self._fsync}"]  # fmt: skip

    def serves(self) -> bool:
        """Log in: while it recovers from a crash it has an open port and refuses everybody."""
        start = struct.pack(">i", 196_608) + b"user\0postgres\0database\0postgres\0\0"  # protocol 3.0
        try:
            with socket.create_connection(("127.0.0.1", self.port), PROBE_DEADLINE) as connection:
                connection.settimeout(PROBE_DEADLINE)
                connection.sendall(struct.pack(">i", len(start) + 4) + start)
                return connection.recv(1) == b"R"
        except OSError:
            return False

    def kill(self) -> None:
        """End all of its processes: left to themselves, those that serve connections end a moment after the first.

        It starts no others meanwhile, and is not launched again beside one that has not ended yet: it would refuse.
        """
        super()._signal(signal.SIGSTOP)
        children = self._children()
        super().kill()
        for child in children:
            _tell(child, signal.SIGKILL)
        deadline = time.monotonic() + START_DEADLINE
        while any(map(_runs, children)) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children():
            _tell(child, number)
        super()._signal(number)

    def _children(self) -> list[int]:
        listed = Path(f"/proc/{self.process_id}/task/{self.process_id}/children")
        return [int(child) for child in listed.read_text().split()] if listed.exists() else []

    def create(self, database: str, *, template: str = "template1") -> str:
        """Make a database, empty or as a copy; returns its URL."""
        self._run(
            *(str(self._programs / "createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", USER),
            *("-T", template, database),
        )
        return self.url_of(database)

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [*self._as_owner, *command],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_DEADLINE,
            check=False,
        )
        if done.returncode:
            raise EngineMissing(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _runs(process: int) -> bool:
    """Whether it still holds memory; one that has ended may wait for its parent to notice."""
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def _tell(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)
