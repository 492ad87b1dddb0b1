"""The whole application behind its gate, with a clock that the test holds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx2
import pytest
from starlette.testclient import TestClient

from app.access.access import Access
from app.access.audit import AuditEntry
from app.access.hosts import Hosts
from app.access.scopes import scopes_of
from app.access.tables import MIGRATIONS
from app.application import application, house_routes
from app.container import bootstrap
from app.database import SqliteDatabase
from app.provider.judges.simulated import PROVIDER
from tests.flow.house import HeldJudge, furnish, settings_in

T = TypeVar("T")
DAY = 86_400.0


@dataclass
class Clock:
    """POSIX and monotonic time at once."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@dataclass
class Door:
    """A running application: ask it with `client`, reach behind the gate with `access`."""

    folder: Path
    access: Access
    clock: Clock
    judge: HeldJudge
    client: TestClient = field(init=False)

    def call(self, work: Callable[..., Awaitable[T]], *given: Any, **named: Any) -> T:
        assert self.client.portal is not None
        return self.client.portal.call(partial(work, *given, **named))

    def key(self, name: str, *scopes: str, expires_in: float | None = None) -> str:
        _, credential = self.call(
            self.access.keys.create, name, scopes_of(scopes), expires_in=expires_in, by="test"
        )
        return credential.text

    def ask(self, line: str, key: str | None = None, **options: Any) -> httpx2.Response:
        method, path = line.split(" ", 1)
        headers = {**options.pop("headers", {}), **({"authorization": f"Bearer {key}"} if key else {})}
        return self.client.request(method, path, headers=headers, **options)

    def audited(self) -> list[AuditEntry]:
        """What happened, apart from the keys that tests make for themselves."""
        found = self.call(self.access.audit.latest, 1000)
        return [entry for entry in found if entry.principal != "test"]


@contextmanager
def opened(
    folder: Path, *assignments: str, enabled: bool = True, hosts: Hosts | None = None
) -> Iterator[Door]:
    furnish(folder)
    settings = settings_in(folder, f"auth.enabled={str(enabled).lower()}", *assignments)
    container = bootstrap(settings)
    clock, judge = Clock(), HeldJudge()
    access = Access(
        SqliteDatabase(folder / "access.db", migrations=MIGRATIONS, busy_timeout=0.05),
        hosts=hosts or Hosts(settings.http.host, settings.auth.hosts, keyed=enabled),
        enabled=enabled,
        clock=clock,
        ticks=clock,
    )
    container.register(Access, instance=access)
    container.register("judges", instance={PROVIDER: judge})
    app = application(container, house_routes(container, anyio.Event()))
    app.state.ended = lambda _error: None
    door = Door(folder, access, clock, judge)
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as door.client:
        yield door


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with opened(tmp_path) as door:
        yield door


@pytest.fixture
def unlocked(tmp_path: Path) -> Iterator[Door]:
    """As `door`, but nobody needs a key."""
    with opened(tmp_path, enabled=False) as door:
        yield door
