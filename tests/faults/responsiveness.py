"""Somebody who looks at processes all the time: whether each still answers, and how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from tests.flow.process import Process

EVERY = 0.25
PATIENCE = 15.0
"""Longer than any deadline of the house: whoever says nothing for so long hangs."""


@dataclass
class Watch:
    """`slowest` seconds per path; `hung` are looks that were not answered at all."""

    slowest: dict[str, float] = field(default_factory=dict)
    hung: list[str] = field(default_factory=list)


@contextmanager
def watched(processes: Sequence[Process], paths: Callable[[Process], Sequence[str]]) -> Iterator[Watch]:
    """Look at these paths of each process; any status is an answer."""
    watch, over = Watch(), threading.Event()
    threads = [
        threading.Thread(target=_look, args=(watch, over, process, paths), name="watcher", daemon=True)
        for process in processes
    ]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _look(
    watch: Watch, over: threading.Event, process: Process, paths: Callable[[Process], Sequence[str]]
) -> None:
    with httpx2.Client(base_url=process.url, timeout=PATIENCE) as client:
        while not over.wait(EVERY):
            for path in paths(process):
                kind, began = path.rsplit("/", 1)[0] or path, time.monotonic()
                try:
                    client.get(path)
                except httpx2.HTTPError as error:
                    watch.hung.append(f"{process.folder.name}{path}: {type(error).__name__}")
                watch.slowest[kind] = max(watch.slowest.get(kind, 0.0), time.monotonic() - began)
