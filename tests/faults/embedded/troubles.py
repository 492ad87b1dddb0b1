"""What happens to the storage of a house, and how each trouble is made and undone, from outside the process.

Some need a tmpfs of our own (root), some a C compiler for `shim.c`; the others need nothing. What cannot be made here
says so instead of passing.
"""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.flow.process import Process

SIZE = 96
"""Megabytes of the tmpfs; a few for the house, the rest is for the ballast."""

SHIM = Path(__file__).with_name("shim.c")
STORES = ("provider.db", "cj.db", "access.db")


@dataclass(frozen=True)
class Ground:
    """Where a house stands: `control` is the shim's switch, None without a compiler; `bounded` says it is a tmpfs."""

    folder: Path
    bounded: bool
    control: Path | None
    environment: Mapping[str, str]

    def missing(self) -> list[str]:
        """What cannot be made here, in words."""
        return [
            *([] if self.bounded else ["no tmpfs can be mounted: no disk that is really full"]),
            *([] if self.control else ["no C compiler: no errors injected into single calls"]),
        ]


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Make a disk of our own, if we may, and build the shim, if we can."""
    folder.mkdir()
    house, control, library = folder / "house", folder / "control", folder / "shim.so"
    house.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(house)]
    bounded = shutil.which("mount") is not None and _does(mount)
    compiler = shutil.which("gcc") or shutil.which("cc")
    built = compiler is not None and _does(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl"]
    )
    control.write_bytes(b"\0")
    environment = {"LD_PRELOAD": str(library), "FAULTS_CONTROL": str(control)} if built else {}
    try:
        yield Ground(house, bounded, control if built else None, environment)
    finally:
        if bounded:
            subprocess.run(["umount", "--lazy", str(house)], check=True)


def _does(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


Trouble = Callable[[Ground, Process], AbstractContextManager[None]]


@contextmanager
def disk_full(ground: Ground, process: Process) -> Iterator[None]:
    """Not a byte is left on the tmpfs. The write-ahead logs are emptied before, or their space would serve for a while."""
    for name in STORES:
        with closing(sqlite3.connect(process.folder / name)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ballast = process.folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        yield
    finally:
        ballast.unlink()


@contextmanager
def size_limit(_ground: Ground, process: Process) -> Iterator[None]:
    """The kernel refuses every write to a file (RLIMIT_FSIZE), the log included."""
    before = resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed in the midst
            resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(_ground: Ground, process: Process) -> Iterator[None]:
    """Another process is in the middle of a write transaction, in every database."""
    with ExitStack() as stack:
        for name in STORES:
            other = stack.enter_context(
                closing(sqlite3.connect(process.folder / name, isolation_level=None, timeout=30))
            )
            other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def moved_away(_ground: Ground, process: Process) -> Iterator[None]:
    """Somebody moved the ledger to another folder, and moves it back."""
    elsewhere = process.folder / "elsewhere"
    elsewhere.mkdir()
    names = [file.name for file in process.folder.glob("provider.db*")]
    for name in names:
        (process.folder / name).rename(elsewhere / name)
    try:
        yield
    finally:
        for name in names:
            (elsewhere / name).rename(process.folder / name)
        elsewhere.rmdir()


def injected(mode: bytes) -> Trouble:
    @contextmanager
    def trouble(ground: Ground, _process: Process) -> Iterator[None]:
        assert ground.control is not None
        with ground.control.open("r+b", buffering=0) as control:
            control.write(mode)
            try:
                yield
            finally:
                control.seek(0)
                control.write(b"\0")

    return trouble


REAL: Mapping[str, Trouble] = {
    "file size limit": size_limit,
    "locked by another process": locked,
    "moved away and back": moved_away,
}
ON_TMPFS: Mapping[str, Trouble] = {"disk full": disk_full}
INJECTED: Mapping[str, Trouble] = {
    "sync fails (EIO)": injected(b"s"),
    "write fails (EIO)": injected(b"e"),
    "no space (ENOSPC)": injected(b"n"),
    "read-only (EROFS)": injected(b"r"),
}


def possible(ground: Ground) -> dict[str, Trouble]:
    """What can be made here."""
    return {**(ON_TMPFS if ground.bounded else {}), **(INJECTED if ground.control else {}), **REAL}
