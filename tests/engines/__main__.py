"""Serve in the foreground, for people who develop."""

from __future__ import annotations

import signal
import sys

from tests.engines import Kafka, PostgreSQL, Redis


def main() -> None:
    """Start all three where the documentation looks for them, or elsewhere if a port is taken, until Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    kafka, redis, postgresql = servers = Kafka(9092), Redis(6379), PostgreSQL(5432)
    try:
        for server in servers:
            server.start()
        print(f"Kafka       {kafka.servers}, process {kafka.process_id}, data in {kafka.folder}")
        print(f"Redis       {redis.url}, process {redis.process_id}, data in {redis.folder}")
        print(f"PostgreSQL  {postgresql.url}, process {postgresql.process_id}, data in {postgresql.folder}")
        print("To use them, in each terminal:")
        print(f"  export JUXTA_BUS__KIND=kafka JUXTA_KAFKA__SERVERS={kafka.servers}")
        print(f"  export JUXTA_QUEUE__KIND=redis JUXTA_REDIS__URL={redis.url}")
        print(f"  export JUXTA_DATABASE__KIND=postgresql JUXTA_DATABASE__URL={postgresql.url}")
        print("Ctrl-C ends them and forgets their data.", flush=True)
        kafka.wait()
    except KeyboardInterrupt:
        print()
    finally:
        for server in servers:
            server.close()


if __name__ == "__main__":
    main()
