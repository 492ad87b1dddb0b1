"""The audit log over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.access.audit import Audit, AuditEntry
from app.edge import strict, written
from app.errors import InvalidRequest

PAGE, MOST = 100, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Rows in order of `number`; `next` is the cursor of the page behind this one, null once a page is not full."""

    entries: Sequence[AuditEntry]
    next: int | None


AUDIT_PAGE = TypeAdapter(AuditPage)


def routes(audit: Audit) -> list[Route]:
    """The one route."""

    async def index(request: Request) -> Response:
        after = _number(request, "after", 0, least=0, most=10**18)
        limit = _number(request, "limit", PAGE, least=1, most=MOST)
        found = await audit.after(after, limit=limit)
        following = found[-1].number if len(found) == limit else None
        return written(AUDIT_PAGE, AuditPage(entries=found, next=following))

    return [Route("/api/v1/audit", strict(index, "after", "limit"), methods=["GET"])]


def _number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (
        text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most
    ):
        raise InvalidRequest(f"{name} is out of range.", errors=((name, f"a number from {least} to {most}"),))
    return int(text)
