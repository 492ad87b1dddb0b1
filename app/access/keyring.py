"""Who holds this key? Answered from memory, so that a request costs microseconds, and never with old news."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
import structlog

from app.access.credential import read
from app.access.keys import Holder, Keys
from app.errors import StoreUnavailable

FRESH = 1.0
"""Seconds for which the keys in memory are believed: a key revoked by another process opens nothing after that."""

_NOTED_EVERY = 60.0
_LONG_AGO = float("-inf")
log = structlog.get_logger()


class Keyring:
    """Every live key, read anew as a whole when it is older than `FRESH`, or when an unknown id is shown.

    As a whole, because there are few, and because nobody can fill a memory or a database with questions about keys that
    do not exist: all who show an unknown one share the next read. `ticks` are monotonic seconds; what o'clock it is the
    database says with the keys.
    """

    def __init__(self, keys: Keys, *, ticks: Callable[[], float]) -> None:
        self._keys = keys
        self._ticks = ticks
        self._known: Mapping[str, Holder] = {}
        self._read_at = _LONG_AGO
        self._ahead = 0.0
        self._reading = anyio.Lock()
        self._noted: dict[str, float] = {}

    async def holder(self, text: bytes) -> Holder | None:
        """Whoever holds the key that this text is; None when it is none, or unknown, expired or revoked.

        :raises StoreUnavailable: the keys cannot be read; what is in memory is not believed for longer.
        """
        credential = read(text)
        if credential is None:
            return None
        asked_at = self._ticks()
        if self._read_at <= asked_at - FRESH:
            await self._read_since(asked_at - FRESH)
        found = self._known.get(credential.id)
        if found is None and self._read_at <= asked_at:
            await self._read_since(asked_at)
            found = self._known.get(credential.id)
        if found is None or not credential.matches(found.digest):
            return None
        if found.expires_at is not None and found.expires_at <= self._now():
            return None
        return found

    def forget(self) -> None:
        """Believe nothing that is in memory: a key was just changed here."""
        self._read_at = _LONG_AGO

    async def _read_since(self, moment: float) -> None:
        async with self._reading:
            if self._read_at <= moment:
                began_at = self._ticks()
                moment, self._known = await self._keys.live()
                self._ahead = moment - began_at
                self._read_at = began_at

    def _now(self) -> float:
        """By the database's clock, early rather than late: ahead by what the read took at most."""
        return self._ahead + self._ticks()

    async def note_use(self, holder: Holder) -> None:
        """Write down that a key is in use, about once a minute; of a session, the key that it came from."""
        now = self._now()
        last = self._noted.get(holder.root, holder.last_used_at if holder.root == holder.id else None)
        if last is not None and now - last < _NOTED_EVERY:
            return
        if len(self._noted) > len(self._known):
            self._noted.clear()
        self._noted[holder.root] = now
        try:
            await self._keys.used(holder.root, now)
        except StoreUnavailable as error:
            # A convenience; the request was served, and the next minute tries again.
            log.warning("use of a key not noted", key=holder.root, reason=error.detail)
