"""Deadlines for those who wait on a socket and cannot say for how long."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_EVERY = 0.25


class Watch:
    """Shuts the sockets of transactions that are past their deadline; whoever waits on one then sees it closed."""

    def __init__(self) -> None:
        self._ends: dict[int, float] = {}
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._given_up = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._run, name="database-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def give_up(self) -> None:
        """Let nothing go on, and nothing begin."""
        with self._guard:
            self._given_up = True
            for handle in self._ends:
                shut(handle)

    @contextmanager
    def over(self, handle: int, seconds: float) -> Iterator[None]:
        """Give what happens on this socket so many seconds."""
        with self._guard:
            self._ends[handle] = time.monotonic() + seconds
            if self._given_up:
                shut(handle)
        try:
            yield
        finally:
            with self._guard:
                self._ends.pop(handle, None)

    def _run(self) -> None:
        while not self._ended.wait(_EVERY):
            with self._guard:  # a handle that is watched is open, so that it is no other's
                for handle, end in list(self._ends.items()):
                    if time.monotonic() > end:
                        del self._ends[handle]
                        shut(handle)


def shut(handle: int) -> None:
    """End a connection under the thread that waits on it."""
    with socket.socket(fileno=os.dup(handle)) as shared, suppress(OSError):
        shared.shutdown(socket.SHUT_RDWR)
