"""The whole flow on config/production.toml: roles apart on Kafka, Redis and PostgreSQL, all of them durable.

What differs from that file: keys are off and only this machine is listened to, Kafka is one broker that keeps one copy,
and the addresses are those of the engines started here.
"""

from __future__ import annotations

from contextlib import closing

from benchmarks.apart import IN_FLIGHT, whole_flow
from benchmarks.result import Result
from tests.engines import PostgreSQL, Redis
from tests.flow.process import ROOT

LEAST = 500
CONFIG = ROOT / "config" / "production.toml"
HERE = ("auth.enabled=false", "http.host=127.0.0.1", "kafka.replication=1")


def run() -> list[Result]:
    """Both roads, with every commit synced by Redis and by PostgreSQL, and the same with the queue in PostgreSQL too."""
    with closing(Redis(appendfsync="always")) as redis, closing(PostgreSQL()) as postgresql:
        redis.start()
        postgresql.start()
        in_redis = (f"redis.url={redis.url}",)
        results = []
        for name, queue in (
            ("Kafka, Redis, PostgreSQL", in_redis),
            ("Kafka, PostgreSQL", ("queue.kind=sql",)),
        ):
            for road, direct in (("answered at once", IN_FLIGHT), ("by callback", 0)):
                url = postgresql.create(f"flow{len(results)}")
                engines = (*HERE, f"database.url={url}", *queue)
                found = whole_flow(
                    f"{name}, {road}", LEAST, *engines, direct=direct, store=url, config=CONFIG
                )
                results.append(found)
        return results
