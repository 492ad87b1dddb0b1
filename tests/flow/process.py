"""The real process: `run.py` in a folder of its own, found by the lock file it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2

ROOT = Path(__file__).parents[2]
PATIENT = 30.0
STARTED = 90.0
"""Seconds after which a start has failed: two take one core each, and a busy machine has none to spare."""


@dataclass
class Process:
    """A running `run.py`; `stderr` is what it said."""

    child: subprocess.Popen[bytes]
    folder: Path
    url: str
    client: httpx2.Client
    log: Path

    @property
    def stderr(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def batch(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/v1/batches/{batch_id}").json()
        return found

    def stop(self) -> int:
        """SIGTERM, and the exit status; a process that does not end is killed and its status is not 0."""
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(PATIENT)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()

    def pause(self) -> None:
        """It does nothing any more, and holds what it holds."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


RUN = (str(ROOT / "run.py"),)


def command(folder: Path, *options: str, program: Sequence[str] = RUN) -> list[str]:
    return [sys.executable, *program, "--data", str(folder), "--port", "0", *options]


@contextmanager
def process_on(
    folder: Path,
    *options: str,
    program: Sequence[str] = RUN,
    environment: Mapping[str, str] = MappingProxyType({}),
    patience: float = STARTED,
) -> Iterator[Process]:
    """Start `run.py` on `folder`; goes on once it serves. With `--ephemeral` it makes a data folder inside it.

    Another `program` takes the same options: the product with a defect, as campaigns start it. `environment` comes on top
    of ours. It has `patience` seconds to start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "stderr"
    with log.open("ab") as stderr:
        child = subprocess.Popen(
            command(folder, *options, program=program),
            stdout=stderr,
            stderr=stderr,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), **environment},
        )
    try:
        url, data = until(lambda: _served(child, folder, log), patience=patience)
        with httpx2.Client(base_url=url, timeout=PATIENT) as client:
            yield Process(child, data, url, client, log)
    finally:
        child.kill()
        child.wait()


def _served(child: subprocess.Popen[bytes], folder: Path, log: Path) -> tuple[str, Path] | None:
    assert child.poll() is None, log.read_text(encoding="utf-8")
    for lock in (*folder.glob("*.lock"), *folder.glob("*/*.lock")):
        try:
            content = json.loads(lock.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if content["pid"] == child.pid and content["url"]:
            return content["url"], lock.parent
    return None


def until(condition: Callable[[], Any], *, patience: float = PATIENT, every: float = 0.01) -> Any:
    """What the condition says as soon as it is true; asked `every` so many seconds."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(every)
    return found


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is to refuse to start, to its end."""
    return juxta(*command(folder, *options)[2:], status=None)


def juxta(
    *arguments: str | Path, status: int | None = 0, said: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that must end with this exit status, or with any; `environment` comes on top of ours."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *map(str, arguments)],
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "300"} | environment,
    )
    assert status in {None, done.returncode}, (arguments, done.returncode, done.stdout, done.stderr)
    return done
