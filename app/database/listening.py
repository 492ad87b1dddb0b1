"""Hearing what other processes say through PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from app.database.watch import shut

_AGAIN = (0.1, 5.0)
"""The first pause before a lost connection is made again, and the longest, in seconds."""


class Listener:
    """A thread that waits for words on one channel; an empty one says that it begins to listen, or begins again."""

    def __init__(self, conninfo: str, channel: str, heard: Callable[[str], None]) -> None:
        self._conninfo = conninfo
        self._channel = channel
        self._heard = heard
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._handle: int | None = None
        self._thread = threading.Thread(target=self._run, name="database-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        with self._guard:
            self._ended.set()
            if self._handle is not None:
                shut(self._handle)
        self._thread.join()

    def _run(self) -> None:
        pause, longest = _AGAIN
        while not self._ended.is_set():
            try:
                with (
                    psycopg.connect(self._conninfo, autocommit=True) as connection,
                    self._stoppable(connection),
                ):
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    pause, _ = _AGAIN
                    self._heard("")
                    for notice in connection.notifies():
                        self._heard(notice.payload)
            except psycopg.Error:  # whoever asks the database for something says that it is away
                self._ended.wait(pause)
                pause = min(2 * pause, longest)

    @contextmanager
    def _stoppable(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        with self._guard:
            self._handle = connection.fileno()
            if self._ended.is_set():
                shut(self._handle)
        try:
            yield
        finally:
            with self._guard:
                self._handle = None
