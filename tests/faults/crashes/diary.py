"""What lives wrote down while they lived: one line per event, appended by one system call, so that kills cut none."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FILE = "diary"


class Event(NamedTuple):
    """`life` numbers the process of a story; `at` is monotonic, and comparable between lives on one machine."""

    life: int
    at: float
    what: str
    id: str
    more: str


class Diary:
    """The writing end, for one life."""

    def __init__(self, folder: Path, life: int) -> None:
        self._life = life
        self._file = os.open(folder / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: str, name: object, more: str = "-") -> None:
        """Write one event; it is read even when the process dies in the next instruction."""
        os.write(self._file, f"{self._life} {time.monotonic():.6f} {what} {name} {more}\n".encode())


def read(folder: Path) -> Sequence[Event]:
    """Every event of a story, in the order in which they happened."""
    file = folder / FILE
    lines = file.read_text().splitlines() if file.exists() else []
    return [
        Event(int(life), float(at), what, name, more) for life, at, what, name, more in map(str.split, lines)
    ]
