"""`queue show|retry|cancel`: one request in the queue of a running provider."""

from __future__ import annotations

import json
from typing import Annotated, Any

import anyio
import typer

from app.cli.options import AsJson, say, uuid_named
from app.cli.running import URL, Key, Server, Url, asking, cell

QueueId = Annotated[
    str, typer.Argument(help="From a 202, or from `queue ls`.", callback=uuid_named("queue_id"))
]
SOON = 3.0
"""Seconds that a worker is given to end what was cancelled, before people are told that it will."""


def show(queue_id: QueueId, *, as_json: AsJson = False, url: Url = URL, key: Key = None) -> None:
    """Show where a request stands, and how its judge is."""
    path = _path(queue_id)

    async def look(server: Server) -> tuple[dict[str, Any], str]:
        entry = await server.get(path)
        lanes = (await server.get("/api/v1/providers"))["lanes"]
        return entry, next((lane["words"] for lane in lanes if lane["name"] == entry["lane"]), "")

    entry, words = asking(url, key, look)
    if as_json:
        print(json.dumps(entry))
        return
    for name, value in entry.items():
        print(f"{name:<15} {cell(value)}")
    if words and entry["outcome"] is None:
        say(f"{entry['lane']}: {words}.")


def retry(queue_id: QueueId, *, as_json: AsJson = False, url: Url = URL, key: Key = None) -> None:
    """Have a waiting request tried now instead of after its delay; what has ended is asked anew under a new id."""
    path = f"{_path(queue_id)}/retry"
    entry = asking(url, key, lambda server: server.post(path))
    _tell(entry, f"Ready since {entry['ready_at']}; its judge decides when.", as_json=as_json)


def cancel(queue_id: QueueId, *, as_json: AsJson = False, url: Url = URL, key: Key = None) -> None:
    """Cancel a request; who asked for it is told so."""
    path = _path(queue_id)

    async def end(server: Server) -> tuple[dict[str, Any], str]:
        entry = await server.post(f"{path}/cancel")
        if entry["state"] == "leased":
            return entry, "A judge has it; what comes of it stays."
        with anyio.move_on_after(SOON):
            while entry["outcome"] is None:
                await anyio.sleep(0.05)
                entry = await server.get(path)
        return entry, "Who asked for it is told so." if entry[
            "outcome"
        ] else "It ends as soon as a worker comes to it."

    entry, words = asking(url, key, end)
    _tell(entry, words, as_json=as_json)


def _tell(entry: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(entry))
    else:
        say(f"{entry['correlation_id']}, {entry['outcome'] or entry['state']}: {words}")


def _path(queue_id: str) -> str:
    return f"/api/v1/queue/{queue_id}"
