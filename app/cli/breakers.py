"""`breaker ls|trip|reset`: the circuit breakers of a running provider."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from app.cli.options import AsJson, say
from app.cli.running import URL, Key, Url, asking, print_table

Lane = Annotated[str, typer.Argument(help="Of the judge, as `breaker ls` or `doctor` names it.")]


def _told(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("must not be empty")
    return reason


Reason = Annotated[
    str,
    typer.Option(help="Why; everybody who looks reads it, and so does the audit log.", callback=_told),
]


def ls(*, as_json: AsJson = False, url: Url = URL, key: Key = None) -> None:
    """List the breakers of every judge that was asked, or stopped by hand, since the server started."""
    found = asking(url, key, lambda server: server.get("/api/v1/breakers"))["breakers"]
    if as_json:
        print(json.dumps(found))
    else:
        print_table(f"Circuit breakers: {len(found)}", found, ("lane", "words"), whole=("lane",))


def trip(lane: Lane, *, reason: Reason, as_json: AsJson = False, url: Url = URL, key: Key = None) -> None:
    """Stop asking a judge until `breaker reset`; calls that run go on, the rest waits in the queue."""
    _change("trip", lane, reason, as_json=as_json, url=url, key=key)


def reset(lane: Lane, *, reason: Reason, as_json: AsJson = False, url: Url = URL, key: Key = None) -> None:
    """Ask a judge again, as if it had never failed."""
    _change("reset", lane, reason, as_json=as_json, url=url, key=key)


def _change(verb: str, lane: str, reason: str, *, as_json: bool, url: str, key: str | None) -> None:
    asked: dict[str, Any] = {"lane": lane, "reason": reason}
    found = asking(url, key, lambda server: server.post(f"/api/v1/breakers/{verb}", asked))
    if as_json:
        print(json.dumps(found))
    else:
        say(f"{found['lane']}: {found['words']}.")
