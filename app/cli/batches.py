"""Commands about the batches of a running server."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

import typer

from app.cli.options import AsJson, say
from app.cli.running import URL, Key, Server, Url, asking
from app.errors import JuxtaError

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

    async def work(server: Server) -> tuple[bool, dict[str, Any]]:
        place = f"/api/v1/batches/{batch}"
        again = False
        if beyond is not None:
            with suppress(
                JuxtaError
            ):  # a key may add without reading; what is really wrong, the next call says
                again = (await server.get(place))["extended_from"] == beyond
        return again, await server.post(f"{place}/add", body)

    again, found = asking(url, key, work)
    if as_json:
        print(json.dumps(found))
    elif again:
        say(
            f"{found['title']}: {found['state']}; nothing added, for these {comparisons} were added before: "
            f"it goes to {found['extended_to']} verdicts"
        )
    else:
        say(f"{found['title']}: {found['state']}; it goes on to {found['extended_to']} verdicts")
