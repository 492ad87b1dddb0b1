"""Commands about the batches of a running server."""

from __future__ import annotations

import json
from typing import Annotated
from uuid import UUID

import typer

from app.cli.options import AsJson, say
from app.cli.running import URL, Key, Url, asking

BatchId = Annotated[UUID, typer.Argument(metavar="BATCH", help="Its id, as in the address of its page.")]


def add(
    batch: BatchId,
    comparisons: Annotated[int, typer.Argument(metavar="N", min=1, help="How many comparisons more.")],
    *,
    beyond: Annotated[
        int | None,
        typer.Option(
            help="Only if so many comparisons are planned by now: makes a repeat safe.", show_default=False
        ),
    ] = None,
    url: Url = URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a finished batch for N comparisons more, from the same seed."""
    body = {"comparisons": comparisons, "beyond": beyond}
    found = asking(url, key, lambda server: server.post(f"/api/v1/batches/{batch}/add", body))
    if as_json:
        print(json.dumps(found))
    else:
        say(f"{found['title']}: {found['state']}; it goes on to {found['extended_to']} verdicts")
