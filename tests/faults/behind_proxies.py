"""An installation whose processes reach their engines, the judge and each other through proxies that break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.engines import Kafka, PostgreSQL, Redis, Server
from tests.fake_llm import FakeLLMProcess
from tests.faults.proxy import Network, Proxy
from tests.flow.installations import on_kafka, on_postgresql, on_redis
from tests.prove_llm.stage import BASE, PRICES, write_catalogue

VENDOR, MODEL = "openai", "proof-1"
TO_PROVIDERS = "cj → provider"
TO_JUDGE, TO_KAFKA, TO_REDIS, TO_POSTGRESQL = LINKS = (
    "provider → judge",
    "→ Kafka",
    "→ Redis",
    "→ PostgreSQL",
)
DEADLINES = (
    "redis.timeout=1.5",
    "database.deadline=3",
    "database.lock_timeout=1",
    "bus.publish_timeout=3",
    "provider.patience=2",
    f"judges.{VENDOR}.timeout=3",
    "queue.lease=4",
)
"""Shorter than the longest fault, so that each of them ends a wait now and then."""
PATIENT = ("queue.max_tries=50", "breaker.cooldown=0.5", "breaker.cooldown_cap=1")
"""A judge behind a bad link is no reason to give a comparison up."""


@dataclass(frozen=True)
class Wiring:
    """`engines` and `options` lead through `proxies`, by the names of their links; who owns `providers` says where they lead."""

    engines: tuple[str, ...]
    options: tuple[str, ...]
    proxies: Mapping[str, Proxy]
    providers: tuple[Proxy, ...]


@contextmanager
def wired(folder: Path, *, providers: int) -> Iterator[Wiring]:
    """Start engines of our own and a judge, with a proxy before each of them and `providers` proxies without a target."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        to = {link: network.proxy() for link in LINKS}
        with ThreadPoolExecutor() as pool:  # making a Kafka or a PostgreSQL takes seconds
            kafka_made = pool.submit(lambda: Kafka(advertised=to[TO_KAFKA].port))
            postgresql = PostgreSQL(fsync=False)
            kafka = kafka_made.result()
        redis = Redis(appendfsync="no")
        judge = FakeLLMProcess("--latency", "0.02")
        for link, port in (
            (TO_KAFKA, kafka.port),
            (TO_REDIS, redis.port),
            (TO_POSTGRESQL, postgresql.port),
            (TO_JUDGE, judge.port),
        ):
            to[link].target = port
        _serve(stack, kafka, postgresql, redis, judge)
        engines = (
            *on_kafka(servers=f"127.0.0.1:{to[TO_KAFKA].port}"),
            *_through(to[TO_REDIS], redis.port, on_redis(redis)),
            *_through(to[TO_POSTGRESQL], postgresql.port, on_postgresql(postgresql)),
        )
        write_catalogue(folder / "models.toml", PRICES)
        options = (
            *DEADLINES,
            *PATIENT,
            f'judges.{VENDOR}.models=["{MODEL}"]',
            f"judges.{VENDOR}.base_url={to[TO_JUDGE].url}{BASE[VENDOR]}",
            f"judges.{VENDOR}.key=nobody-looks",
            f'judges.catalogue=["config/models.toml", "{folder / "models.toml"}"]',
        )
        yield Wiring(engines, options, to, tuple(network.proxy() for _ in range(providers)))


def _serve(stack: ExitStack, *servers: Server) -> None:
    for server in servers:
        stack.callback(server.close)
        server.launch()
    for server in servers:
        server.wait_until_it_serves()


def _through(proxy: Proxy, port: int, settings: Sequence[str]) -> Sequence[str]:
    return [one.replace(f":{port}/", f":{proxy.port}/") for one in settings]
