"""Who works on a data folder: the kernel's lock on a file beside each database, held while a process lives."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import ConfigurationError


@contextmanager
def locked(folder: Path, part: str, *, shared: bool = False) -> Iterator[Path]:
    """Hold the database of `part`; yields the lock file, into which `announce` writes where this process serves.

    `shared` holders bear each other, and nobody else. The lock ends with the process, however that ends.

    :raises ConfigurationError: another process holds it, or the folder cannot be used.
    """
    path = folder / f"{part}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigurationError(f"data: '{folder}' cannot be used ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"data: {part} in '{folder}' is in use by {_holder(path)}. "
                "Stop it, or choose another folder with --data."
            ) from error
        announce(path, url=None)
        yield path
    finally:
        os.close(handle)


def announce(path: Path, *, url: str | None) -> None:
    """Write who holds the lock, for people and for the other commands; of several holders the last one stands."""
    path.write_text(json.dumps({"pid": os.getpid(), "url": url}), encoding="utf-8")


def _holder(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        return "another process"
    where = f" (serving {content['url']})" if content.get("url") else ""
    return f"process {content['pid']}{where}"
