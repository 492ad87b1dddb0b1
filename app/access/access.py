"""The open door of a process: its keys, its gate and its log, on one database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from starlette.requests import Request
from starlette.routing import BaseRoute

from app.access.audit import Audit, Outcome
from app.access.credential import read
from app.access.gate import audit_row, cookie_of, guarded
from app.access.hosts import Hosts
from app.access.keyring import Keyring
from app.access.keys import Keys
from app.access.policy import Policy
from app.database import Database
from app.errors import Unauthorized

_FAILURES_A_MINUTE = 60


class Access:
    """Who may do what, for as long as it is entered.

    Not `enabled`, nobody needs a key and everybody is the principal `local` with every scope; names are checked and
    operators' actions audited all the same. Time is the database's unless a `clock` is given.
    """

    def __init__(
        self,
        database: Database,
        *,
        hosts: Hosts,
        enabled: bool,
        clock: Callable[[], float] | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.enabled = enabled
        self.keys = Keys(database, clock=clock)
        self.audit = Audit(database, clock=clock)
        self._database = database
        self._hosts = hosts
        self._ticks = ticks
        self._keyring = Keyring(self.keys, ticks=ticks)
        self._failures = (float("-inf"), 0)

    async def __aenter__(self) -> Self:
        await self._database.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._database.close()

    def guarded(self, routes: Iterable[BaseRoute], policy: Policy) -> list[BaseRoute]:
        """Put each route behind its lines of the policy.

        :raises ConfigurationError: a route has no line, or a line has no route.
        """
        keyring = self._keyring if self.enabled else None
        return guarded(routes, policy, hosts=self._hosts, keyring=keyring, audit=self.audit)

    async def specify(self, request: Request, words: str) -> None:
        """Write into the audit log what an operator's request is about, before it is done.

        :raises StoreUnavailable: the log does not take it; then the action is not to be done.
        """
        if (number := audit_row(request)) is not None:
            await self.audit.specify(number, words)

    async def sign_in(self, key: str) -> tuple[str, float]:
        """Open a session for a browser; returns what its cookie holds, and for how many seconds.

        The cookie does not hold the key: what a browser keeps on disk ends after a working day and with the key it
        came from, and signing out ends it for real.

        :raises Unauthorized: no such key; audited, though after sixty failures a minute they are only counted.
        """
        text = key.strip().encode(errors="replace")
        holder = await self._keyring.holder(text)
        if holder is None or holder.root != holder.id:  # a session opens no other: it would never end
            await self._note_failure(text)
            raise Unauthorized
        session, seconds = await self.keys.open_session(holder)
        return session.text, seconds

    async def sign_out(self, headers: Mapping[bytes, bytes]) -> None:
        """End the session in the cookie, if there is one."""
        session = await self._keyring.holder(cookie_of(headers))
        if session is not None:
            await self.keys.close_session(session)
            self._keyring.forget()

    async def _note_failure(self, text: bytes) -> None:
        """Bounded, or whoever guesses would fill the disk; what was typed is not kept, it may be another's secret."""
        minute, count = self._failures
        now = self._ticks()
        if not 0 <= now - minute < 60:  # noqa: PLR2004 - a minute
            left = max(0, count - _FAILURES_A_MINUTE)
            minute, count = now, 0
        else:
            left = 0
        self._failures = (minute, count + 1)
        if count < _FAILURES_A_MINUTE:
            detail = f"and {left} more in the minute before" if left else ""
            shown = read(text)
            target = shown.id if shown else ""
            await self.audit.write("?", "login", target=target, detail=detail, outcome=Outcome.REFUSED)
