"""One process per data folder: the files under it are ours alone while the lock is held."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import ConfigurationError

NAME = "juxta.lock"


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Hold the folder; yields the lock file, into which `announce` writes where this process serves.

    The lock is the kernel's: it ends with the process, however that ends.

    :raises ConfigurationError: another process holds it, or the folder cannot be used.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigurationError(f"data: '{folder}' cannot be used ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = serving(folder)
            who = f"process {holder['pid']}" if holder else "another process"
            where = f" (serving {holder['url']})" if holder and holder.get("url") else ""
            raise ConfigurationError(
                f"data: '{folder}' is in use by {who}{where}. Stop it, or choose another folder with --data."
            ) from error
        announce(path, url=None)
        yield path
    finally:
        os.close(handle)


def announce(path: Path, *, url: str | None) -> None:
    """Write who holds the folder, for people and for the other commands."""
    path.write_text(json.dumps({"pid": os.getpid(), "url": url}), encoding="utf-8")


def serving(folder: Path) -> dict[str, object] | None:
    """Who wrote the lock file last; None when nobody did."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
