"""The whole flow as config/production.toml has it: roles apart on Kafka, Redis and PostgreSQL, all of them durable."""

from __future__ import annotations

from contextlib import closing

from benchmarks.apart import IN_FLIGHT, whole_flow
from benchmarks.result import Result
from tests.engines import PostgreSQL, Redis

LEAST = 500


def run() -> list[Result]:
    """Both roads, with every commit synced by Redis and by PostgreSQL, and the same with the queue in PostgreSQL too."""
    with closing(Redis(appendfsync="always")) as redis, closing(PostgreSQL()) as postgresql:
        redis.start()
        postgresql.start()
        in_redis = ("queue.kind=redis", f"redis.url={redis.url}")
        results = []
        for name, queue in (("Kafka, Redis, PostgreSQL", in_redis), ("Kafka, PostgreSQL", ())):
            for road, direct in (("answered at once", IN_FLIGHT), ("by callback", 0)):
                url = postgresql.create(f"flow{len(results)}")
                engines = ("database.kind=postgresql", f"database.url={url}", *queue)
                found = whole_flow(f"{name}, {road}", LEAST, *engines, direct=direct, store=url)
                results.append(found)
        return results
