"""`doctor --url`: what is stuck on running servers, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from app.cli.running import Server
from app.errors import Forbidden, JuxtaError, NotFound

Found = dict[str, Any]


async def examine(servers: Sequence[Server]) -> int:
    """Print a line for each part, judge, batch that cannot go on, and topic with dead letters; returns the faults.

    Batches are told of by one server and the breakers of their judges by others, where roles are apart.
    """
    faults = 0
    breakers: list[Found] = []
    batches: dict[str, Found] = {}
    for server in servers:
        faults += _parts(await server.get("/readyz"), f" at {server.url}" if len(servers) > 1 else "")
        breakers += await _of(server, "/api/v1/breakers", "breakers")
        batches |= {batch["id"]: batch for batch in await _of(server, "/api/v1/batches", "batches")}
    for breaker in breakers:
        faults += _print(f"judge {breaker['lane']}: {breaker['words']}", fault=breaker["state"] != "closed")
    for batch in batches.values():
        for why in _reasons(batch, breakers):
            faults += _print(f"batch {batch['title']!r} ({batch['id']}): {why}", fault=True)
    return faults + await _dead_letters(servers)


def _parts(ready: Found, where: str) -> int:
    if ready["provider"]:
        print(f"ok     provider: {ready['provider']}")
    return sum(
        _print(f"{part}{where}: {words}", fault=words != "ok") for part, words in ready["parts"].items()
    )


async def _dead_letters(servers: Sequence[Server]) -> int:
    """Servers apart share a bus; what one cannot tell another may."""
    topics: dict[str, int] = {}
    faults = 0
    for server in servers:
        try:
            topics |= (await server.get("/api/v1/dead-letters/topics"))["topics"]
        except JuxtaError as error:
            faults += _print(f"dead letters: {error.detail}", fault=True)
    return faults + sum(
        _print(f"dead letters of {topic}: {number}", fault=number > 0) for topic, number in topics.items()
    )


def _print(words: str, *, fault: bool) -> int:
    print(f"{'fault' if fault else 'ok':<6} {words}")
    return int(fault)


async def _of(server: Server, path: str, name: str) -> list[Found]:
    """What the server tells of this; nothing where its role has none, or the key does not open it."""
    try:
        found: list[Found] = (await server.get(path))[name]
    except NotFound:
        return []
    except Forbidden as error:
        print(f"?      {name}: {error.detail}")
        return []
    return found


def _reasons(batch: Found, breakers: Sequence[Found]) -> Iterator[str]:
    """Why it does not go on; nothing when it does, or has ended. One that paused itself has a problem."""
    if batch["problem"]:
        yield batch["problem"]
    elif batch["state"] == "paused":
        yield "somebody paused it; resume it on its page"
    if batch["state"] != "running" or not batch["open"]:
        return
    for breaker in breakers:
        judges = batch["settings"]["judges"]
        if breaker["state"] != "closed" and any(_goes_by(judge, breaker["lane"]) for judge in judges):
            yield f"waiting for judge {breaker['lane']}: breaker {breaker['words']}"


def _goes_by(judge: Found, lane: str) -> bool:
    """Whether this judge is asked by that lane: `provider/model`, or what a panel of models shares."""
    provider, model = judge.get("provider"), judge.get("model")
    if provider is None:
        return True
    return lane.startswith(f"{provider}/") if model is None else f"{provider}/{model}/".startswith(f"{lane}/")
