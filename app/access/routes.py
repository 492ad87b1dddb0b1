"""The audit log over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.access.audit import Audit, Entry
from app.errors import InvalidRequest

PAGE, MOST = 100, 1000


def routes(audit: Audit) -> list[Route]:
    """The one route."""

    async def index(request: Request) -> Response:
        """Rows behind `after`, the oldest first; `next` is the cursor of the page behind it, null on the last one."""
        after = _number(request, "after", 0, least=0, most=10**18)
        limit = _number(request, "limit", PAGE, least=1, most=MOST)
        found = await audit.after(after, limit=limit)
        following = found[-1].number if len(found) == limit else None
        body = json.dumps({"entries": [entry_json(entry) for entry in found], "next": following})
        return Response(body, media_type="application/json")

    return [Route("/api/v1/audit", index, methods=["GET"])]


def entry_json(entry: Entry) -> dict[str, Any]:
    """A row as the API and the command line show it."""
    return entry._asdict() | {"at": datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds")}


def _number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (
        text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most
    ):
        raise InvalidRequest(f"{name} is out of range.", errors=((name, f"a number from {least} to {most}"),))
    return int(text)
