"""The ledger on PostgreSQL against what PostgreSQL takes for the bare work: the same groups through SKIP LOCKED, by hand."""

from __future__ import annotations

import asyncio
import time

import psycopg

from app.database.postgresql import PostgresDatabase
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import MIGRATIONS
from benchmarks.queue import BODY, LANE, VERDICT, WAITERS, _request
from benchmarks.result import Result
from tests.engines import PostgreSQL

WARM = 10
GROUPS = 60
ROUNDS = 5
LEASE = 60.0

SCHEMA = """
CREATE TABLE jobs (
    id bigserial PRIMARY KEY, key bytea UNIQUE NOT NULL, state text NOT NULL, body bytea NOT NULL, event bytea,
    until timestamptz, attempt integer NOT NULL DEFAULT 0
);
CREATE INDEX jobs_queued ON jobs (id) WHERE state = 'queued';
"""


def run() -> list[Result]:
    """Best of several rounds, taken in turn, on a server of its own that syncs every commit."""
    server = PostgreSQL()
    server.start()
    try:
        ours: list[float] = []
        raw: list[float] = []
        for number in range(ROUNDS):
            raw.append(by_hand(server.create(f"raw_{number}")))
            ours.append(asyncio.run(cycle(server.create(f"ledger_{number}"))))
    finally:
        server.close()
    return [
        Result(
            f"full cycle from {WAITERS} waiters on PostgreSQL against grouped SKIP LOCKED by hand",
            max(ours),
            max(raw),
            "requests/s",
            0.5,
        )
    ]


async def cycle(url: str) -> float:
    """Requests per second that are accepted, leased for a call, answered and marked as published."""
    database = PostgresDatabase(url, "juxta_provider", migrations=MIGRATIONS)
    async with SqlQueue(database, boot="benchmark") as queue:
        for number in range(WARM + GROUPS):
            if number == WARM:
                begun_at = time.perf_counter()
            await asyncio.gather(*[queue.accept(_request()) for _ in range(WAITERS)])
            leases = await queue.lease(LANE, limit=WAITERS, seconds=LEASE, begin=True)
            await asyncio.gather(*[queue.store(lease, VERDICT) for lease in leases])
            await asyncio.gather(*[queue.mark_published(lease) for lease in leases])
        return GROUPS * WAITERS / (time.perf_counter() - begun_at)


def by_hand(url: str) -> float:
    """The same steps in the same groups, one commit for each step of a group, with nothing looked after.

    As psycopg does it unasked: lists go as text. In binary, which the ledger asks for, the bare work came to 13,300 a
    second beside 5,100 of the ledger in the same run, a ratio of 0.38.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.autocommit = False
        for number in range(WARM + GROUPS):
            if number == WARM:
                begun_at = time.perf_counter()
            _raw_group(connection)
        return GROUPS * WAITERS / (time.perf_counter() - begun_at)


def _raw_group(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO jobs (key, state, body) SELECT column1, 'queued', column2"
        " FROM unnest(%s::bytea[], %s::bytea[]) AS given (column1, column2)",
        [[_request().queue_id.bytes for _ in range(WAITERS)], [BODY] * WAITERS],
    )
    connection.commit()
    rows = connection.execute(
        "SELECT id, key, body FROM jobs WHERE state = 'queued' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED",
        [WAITERS],
    ).fetchall()
    ids = [row[0] for row in rows]
    connection.execute(
        "UPDATE jobs SET state = 'leased', attempt = attempt + 1, until = now() + interval '1 minute'"
        " WHERE id = ANY (%s)",
        [ids],
    )
    connection.commit()
    connection.execute(
        "UPDATE jobs SET state = 'answered', body = '', event = column2"
        " FROM unnest(%s::bigint[], %s::bytea[]) AS given (column1, column2) WHERE id = column1",
        [ids, [VERDICT.event] * WAITERS],
    )
    connection.commit()
    connection.execute("UPDATE jobs SET state = 'published' WHERE id = ANY (%s)", [ids])
    connection.commit()


if __name__ == "__main__":
    for result in run():
        print(
            f"{result.name}: {result.ours:,.0f} against {result.floor:,.0f} {result.unit}, "
            f"ratio {result.ratio:.2f} (bar {result.bar})"
        )
