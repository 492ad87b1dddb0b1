"""SIGTERM while a store holds its connections open and says nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2

from tests.engines import PostgreSQL

from .deployment import Deployment, wrong
from .installations import on_postgresql
from .process import Process, until
from .test_shared_engines import comparison

GRACE = 2.0
LEEWAY = 2.0
QUICK = (f"http.grace={GRACE}", "provider.drain=0.25", "bus.drain=0.25")


def test_a_process_ends_within_its_grace_while_postgresql_hangs(
    tmp_path: Path, own_postgresql: PostgreSQL
) -> None:
    """Its deadline for a hanging database is 10 s, and its threads wait so long."""
    engines = (
        "bus.kind=kafka",
        "kafka.servers=127.0.0.1:1",
        "cj.callback_topic=results",
        'provider.topics=["results"]',
    )
    deployment = Deployment(tmp_path, (*engines, *on_postgresql(own_postgresql)))
    with deployment.provider("p1", *QUICK) as provider, ThreadPoolExecutor(1) as asker:
        own_postgresql.pause()
        try:
            asker.submit(ask, provider, comparison(deployment))
            until(lambda: wrong(provider))  # the request, or the probe, waits for the database by then
            provider.child.terminate()
            assert provider.child.wait(GRACE + LEEWAY) == 0, provider.stderr
        finally:
            own_postgresql.resume()
        assert "Traceback" not in provider.stderr
        assert "Stopped" in provider.stderr


def ask(provider: Process, content: dict[str, object]) -> None:
    with suppress(httpx2.HTTPError):
        provider.client.post("/api/v1/comparison", json=content)
