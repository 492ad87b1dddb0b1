"""`doctor --url`: what is stuck on a running server, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.cli.running import Server
from app.errors import JuxtaError, NotFound

Found = dict[str, Any]


async def examine(server: Server) -> int:
    """Print a line for each part, each batch that cannot go on, and what is dead-lettered; returns how many faults."""
    faults = 0
    ready = await server.get("/readyz")
    for part, words in ready["parts"].items():
        faults += _print(f"{part}: {words}", fault=words != "ok")
    if ready["provider"]:
        print(f"ok     provider: {ready['provider']}")
    breakers = await _of(server, "/api/v1/breakers", "breakers")
    for breaker in breakers or ():
        faults += _print(f"judge {breaker['lane']}: {breaker['words']}", fault=breaker["state"] != "closed")
    for batch in await _of(server, "/api/v1/batches", "batches") or ():
        for why in _reasons(batch, breakers):
            faults += _print(f"batch {batch['title']!r} ({batch['id']}): {why}", fault=True)
    try:
        topics = (await server.get("/api/v1/dead-letters/topics"))["topics"]
    except JuxtaError as error:
        return faults + _print(f"dead letters: {error.detail}", fault=True)
    for topic, number in topics.items():
        faults += _print(f"dead letters of {topic}: {number}", fault=number > 0)
    return faults


def _print(words: str, *, fault: bool) -> int:
    print(f"{'fault' if fault else 'ok':<6} {words}")
    return int(fault)


async def _of(server: Server, path: str, name: str) -> list[Found] | None:
    """What a role that is not served here would tell: nothing."""
    try:
        found: list[Found] = (await server.get(path))[name]
    except NotFound:
        return None
    return found


def _reasons(batch: Found, breakers: list[Found] | None) -> Iterator[str]:
    """Why it does not go on; nothing when it does, or has ended."""
    if batch["problem"]:
        yield batch["problem"]
    if batch["state"] == "paused":
        yield "somebody paused it; resume it on its page"
    if batch["state"] != "running" or not batch["open"]:
        return
    if breakers is None:
        return
    for breaker in breakers:
        if breaker["state"] != "closed" and any(
            _goes_by(judge, breaker["lane"]) for judge in batch["settings"]["judges"]
        ):
            yield f"waiting for judge {breaker['lane']}: breaker {breaker['words']}"


def _goes_by(judge: Found, lane: str) -> bool:
    """Whether this judge is asked by that lane: `provider/model`, or what a panel of models shares."""
    provider, model = judge.get("provider"), judge.get("model")
    if provider is None:
        return True
    return lane.startswith(f"{provider}/") if model is None else f"{provider}/{model}/".startswith(f"{lane}/")
