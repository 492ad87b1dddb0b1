"""What is done to a Redis and a PostgreSQL of our own; each outage returns at the moment at which the engine serves again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
from redis import Redis as Client

from tests.engines import PostgreSQL, Redis, Server
from tests.flow.deployment import wrong
from tests.flow.process import Process, until

REDIS_KILLED, REDIS_EMPTIED, REDIS_FULL = "Redis killed", "Redis emptied", "Redis full"
REDIS_HUNG, REDIS_EVICTING = "Redis hung", "Redis set to evict"
POSTGRESQL_KILLED, POSTGRESQL_HUNG = "PostgreSQL killed", "PostgreSQL hung"
REQUESTS_LOCKED, BATCHES_LOCKED, LOCKED_LONG = "requests locked", "batches locked", "locked for long"
NOTICED = 30.0
"""Seconds that a provider may take at most to notice anything, or it never does."""
REQUESTS = "juxta_provider.requests"
BATCHES = "juxta_cj.batches, juxta_cj.comparisons"


class Outages:
    """Of these engines. `noticed` is how long each provider took to find Redis unfit to be trusted."""

    def __init__(self, redis: Redis, postgresql: PostgreSQL, database: str, *, long: float) -> None:
        self.noticed: list[float] = []
        self.providers: Callable[[], Sequence[Process]] = list
        self._redis = redis
        self._postgresql = postgresql
        self._database = database
        self._long = long

    def strike(self, name: str, seconds: float) -> None:
        """Bring about the outage of that name; `seconds` is how long it lasts, where nothing else decides that."""
        outages: dict[str, Callable[[float], None]] = {
            REDIS_KILLED: lambda seconds: kill(self._redis, seconds),
            REDIS_EMPTIED: lambda _: self._empty(),
            REDIS_FULL: self._fill,
            REDIS_HUNG: lambda seconds: hang(self._redis, seconds),
            REDIS_EVICTING: lambda _: self._evict(),
            POSTGRESQL_KILLED: lambda seconds: kill(self._postgresql, seconds),
            POSTGRESQL_HUNG: lambda seconds: hang(self._postgresql, seconds),
            REQUESTS_LOCKED: lambda seconds: self._lock(REQUESTS, seconds),
            BATCHES_LOCKED: lambda seconds: self._lock(BATCHES, seconds),
            LOCKED_LONG: lambda _: self._lock(f"{BATCHES}, {REQUESTS}", self._long),
        }
        outages[name](seconds)

    def _empty(self) -> None:
        with self._client() as client:
            client.flushall()

    def _fill(self, seconds: float) -> None:
        """Leave no memory for what is new."""
        with self._set("maxmemory", "1", "0"):
            time.sleep(seconds)

    def _evict(self) -> None:
        """Let Redis throw work away when memory is short, until every provider refuses to work with it."""
        with self._set("maxmemory-policy", "allkeys-lru", "noeviction"):
            began = time.monotonic()
            for provider in self.providers():
                until(lambda: "queue" in wrong(provider), patience=NOTICED, every=0.1)  # noqa: B023 - at once
                self.noticed.append(time.monotonic() - began)

    @contextmanager
    def _set(self, name: str, fault: str, usual: str) -> Iterator[None]:
        with self._client() as client:
            client.config_set(name, fault)
            try:
                yield
            finally:
                client.config_set(name, usual)

    def _client(self) -> Client:
        return Client.from_url(self._redis.url, socket_timeout=10.0)

    def _lock(self, tables: str, seconds: float) -> None:
        """As a careless person does by hand, who asks again when it was a deadlock."""
        deadline = time.monotonic() + NOTICED
        while True:
            try:
                with psycopg.connect(self._database) as stranger:
                    stranger.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE".encode())
                    time.sleep(seconds)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
            else:
                return


def kill(server: Server, seconds: float) -> None:
    """Kill -9, and away for so long."""
    server.kill()
    time.sleep(seconds)
    server.start()


def hang(server: Server, seconds: float) -> None:
    """Its connections stay open, and nobody answers."""
    server.pause()
    try:
        time.sleep(seconds)
    finally:
        server.resume()
