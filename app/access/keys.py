"""Keys as the database keeps them. Every change is one transaction with its row in the audit log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.access.audit import Outcome, note
from app.access.credential import Credential, draw
from app.access.scopes import Scope, scopes_of
from app.access.tables import keys
from app.database import Database
from app.errors import Conflict, InvalidRequest, NotFound, Unauthorized

LOCAL = "local"
"""Who asks when no keys are needed, and cj within the same process."""

SESSION = 43_200.0
"""Seconds for which a browser stays signed in: a working day."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_SESSIONS = 50


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret; moments are POSIX seconds."""

    id: str
    name: str
    scopes: Scope
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


class Holder(NamedTuple):
    """Whoever shows a live key or has a session; `root` is the key that a session came from, else the key itself.

    `held` is what the scopes allow, implied ones included, as a plain number: flags cost a microsecond to look at.
    """

    id: str
    root: str
    name: str
    scopes: Scope
    held: int
    digest: bytes
    expires_at: float | None
    last_used_at: float | None


class Keys:
    """All methods raise `StoreUnavailable` when the database is away.

    Processes share a database: whoever ends a key, or signs in with it, holds its row first, so that no session outlives
    its key. Time is the database's unless a `clock` is given. The name of a key is the principal. Several keys may share one, so that a new key takes over where an old one ends.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._now: Callable[[Connection], float] = database.now if clock is None else lambda _: clock()

    async def create(
        self,
        name: str,
        scopes: Scope,
        *,
        expires_in: float | None = None,
        by: str,
        credential: Credential | None = None,
    ) -> tuple[Key, Credential]:
        """Make a key; its secret is known to the caller alone from then on. `expires_in` is in seconds.

        `credential` is one that was drawn for another installation, to be let in here too.

        :raises InvalidRequest: the name is not allowed.
        :raises Conflict: the credential is known here already.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"{name!r} is no name for a key; allowed are letters, digits and . _ -, up to 64."
            )
        if name == LOCAL:
            raise InvalidRequest(f"The name {LOCAL!r} belongs to this process itself; choose another.")
        drawn = credential or draw()

        def work(connection: Connection) -> Key:
            now = self._now(connection)
            ends_at = None if expires_in is None else now + expires_in
            key = Key(drawn.id, name, scopes, now, ends_at, None, None)
            try:
                _add(connection, key, drawn)
            except IntegrityError as error:
                raise Conflict(f"The key {key.id} is known here already.") from error
            detail = f"{name}: {' '.join(scopes.words)}"
            note(connection, now, by, "key new", target=key.id, detail=detail, outcome=Outcome.DONE)
            return key

        return await self._database.write(work), drawn

    async def all(self) -> Sequence[Key]:
        """Every key there was, in the order of their making; sessions are none."""
        statement = select(keys).where(keys.c.parent.is_(None)).order_by(keys.c.created_at, keys.c.id)
        return await self._database.read(lambda c: [_key(row) for row in c.execute(statement)])

    async def revoke(self, id_or_name: str, *, by: str) -> Sequence[Key]:
        """End a key, or all of a name, with the sessions that came from them; returns what was ended.

        :raises NotFound: there is no such key, or it is revoked already.
        """

        def work(connection: Connection) -> Sequence[Key]:
            now = self._now(connection)
            live = keys.c.revoked_at.is_(None) & keys.c.parent.is_(None)
            named = or_(keys.c.id == id_or_name, keys.c.name == id_or_name)
            held = select(keys).where(live & named).order_by(keys.c.id).with_for_update()
            found = [_key(row) for row in connection.execute(held)]
            if not found:
                raise NotFound(f"There is no key {id_or_name!r} that is not revoked already.")
            ids = [key.id for key in found]
            connection.execute(delete(keys).where(keys.c.parent.in_(ids)))
            connection.execute(update(keys).where(keys.c.id.in_(ids)).values(revoked_at=now))
            for key in found:
                note(connection, now, by, "key revoke", target=key.id, detail=key.name, outcome=Outcome.DONE)
            return found

        return await self._database.write(work)

    async def live(self) -> tuple[float, Mapping[str, Holder]]:
        """The database's moment, and every key and session that opens something then, by id."""

        def work(connection: Connection) -> tuple[float, Mapping[str, Holder]]:
            now = self._now(connection)
            unexpired = or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)
            found = connection.execute(select(keys).where(keys.c.revoked_at.is_(None) & unexpired))
            return now, {row.id: _holder(row) for row in found}

        return await self._database.read(work)

    async def open_session(self, key: Holder) -> tuple[Credential, float]:
        """Make a short-lived key of the same name and scopes for a browser; returns it and its seconds.

        A key that signs in over and over keeps its newest sessions.

        :raises Unauthorized: the key was revoked this moment.
        """
        credential = draw()

        def work(connection: Connection) -> float:
            now = self._now(connection)
            ends_at = now + SESSION if key.expires_at is None else min(now + SESSION, key.expires_at)
            session = Key(credential.id, key.name, key.scopes, now, ends_at, None, None)
            still = select(keys.c.id).where(keys.c.id == key.id, keys.c.revoked_at.is_(None))
            if connection.execute(still.with_for_update()).first() is None:
                raise Unauthorized
            own = keys.c.parent == key.id
            kept = select(keys.c.id).where(own).order_by(keys.c.created_at.desc()).limit(_MOST_SESSIONS - 1)
            expired = keys.c.parent.is_not(None) & (keys.c.expires_at <= now)
            ended = select(keys.c.id).where(expired | (own & keys.c.id.not_in(kept)))
            # what another sign-in is deleting is passed over: waiting for each other would be a deadlock
            doomed = connection.execute(ended.with_for_update(skip_locked=True)).scalars().all()
            connection.execute(delete(keys).where(keys.c.id.in_(doomed)))
            _add(connection, session, credential, parent=key.id)
            note(connection, now, key.name, "login", target=key.id, outcome=Outcome.DONE)
            return ends_at - now

        return credential, await self._database.write(work)

    async def close_session(self, session: Holder) -> None:
        """Forget a session; a key itself stays."""
        statement = delete(keys).where(keys.c.id == session.id, keys.c.parent.is_not(None))
        await self._database.write(lambda c: c.execute(statement))

    async def used(self, key_id: str, at: float) -> None:
        """Note when a key was last used."""
        statement = update(keys).where(keys.c.id == key_id).values(last_used_at=at)
        await self._database.write(lambda c: c.execute(statement))


def _add(connection: Connection, key: Key, credential: Credential, *, parent: str | None = None) -> None:
    connection.execute(
        insert(keys).values(
            id=key.id,
            name=key.name,
            scopes=" ".join(key.scopes.words),
            digest=credential.digest,
            parent=parent,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    )


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        scopes=scopes_of(row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


def _holder(row: Row[Any]) -> Holder:
    scopes = scopes_of(row.scopes.split())
    return Holder(
        id=row.id,
        root=row.parent or row.id,
        name=row.name,
        scopes=scopes,
        held=scopes.implied.value,
        digest=row.digest,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
