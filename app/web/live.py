"""The live stream of a batch: Server-Sent Events that survive a lost connection without losing a verdict.

`verdict` events carry the comparison's `ended_order` as their id. A browser that reconnects sends the last one back as
`Last-Event-ID` and gets every verdict after it, then the state as it is now. `state` and `done` have no id: they are
pictures of a moment, and only the newest counts; the `ranking` in a state is null when it is the one sent before.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from uuid import UUID

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.cj.changes import Changes
from app.cj.views import Views
from app.edge import strict
from app.errors import InvalidRequest, NotFound
from app.web import words
from app.web.snapshot import Clock, Look, take

_AT_ONCE = 500


class LiveStream:
    """Events of one batch per connection.

    News is waited for; after `heartbeat` seconds without any the state is sent all the same, as its rate and queue
    words age. Bursts are gathered for `gather` seconds. `closing` ends every stream at once when the server leaves:
    a server waits for its open connections, and sse-starlette notices a shutdown only by signal handlers, late.
    """

    def __init__(
        self,
        views: Views,
        changes: Changes,
        look: Look,
        *,
        closing: anyio.Event,
        heartbeat: float,
        gather: float,
        clock: Clock,
    ) -> None:
        self._views = views
        self._changes = changes
        self._look = look
        self._closing = closing
        self._heartbeat = heartbeat
        self._gather = gather
        self._clock = clock

    async def events(self, request: Request) -> Response:
        """GET …/events: the stream; `?after=` is where to begin when there is no `Last-Event-ID`."""
        batch_id: UUID = request.path_params["batch_id"]
        after = _begin(request)
        await self._views.batch(batch_id)
        if request.method == "HEAD":  # a stream without end has no place where its head would end
            return Response(media_type="text/event-stream")
        return EventSourceResponse(self.follow(batch_id, after), ping=self._heartbeat, sep="\n")

    async def follow(self, batch_id: UUID, after: int) -> AsyncIterator[ServerSentEvent]:
        """Yield verdicts after `after` and states until the batch ended, is gone, or the server leaves."""
        sent: object = None
        while not self._closing.is_set():
            news = self._changes.listen(batch_id)
            try:
                state = await take(self._views, batch_id, self._look, self._clock())
                ended = await self._views.comparisons(batch_id, after=after, limit=_AT_ONCE, ended=True)
            except NotFound:
                yield _event("done", {"state": "deleted"})
                return
            for one in ended:
                shown = words.verdict(one)
                after = shown.order
                yield _event("verdict", asdict(shown), order=after)
            if len(ended) == _AT_ONCE:
                continue
            same = state.ranking == sent
            sent = state.ranking
            yield _event("state", asdict(state) | ({"ranking": None} if same else {}))
            if state.ended:
                yield _event("done", {"state": state.state})
                return
            await self._wait(news, self._heartbeat)
            await self._wait(None, self._gather)

    async def _wait(self, news: anyio.Event | None, seconds: float) -> None:
        """Return at news, when the server leaves, or after `seconds`."""
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as either:

                async def until(event: anyio.Event) -> None:
                    await event.wait()
                    either.cancel_scope.cancel()

                either.start_soon(until, self._closing)
                if news is not None:
                    either.start_soon(until, news)


def routes(
    *,
    views: Views,
    changes: Changes,
    look: Look,
    closing: anyio.Event,
    heartbeat: float = 5.0,
    gather: float = 0.25,
    clock: Clock = time.time,
) -> list[BaseRoute]:
    """The route of the stream. Set `closing` as soon as the server is told to stop."""
    stream = LiveStream(
        views, changes, look, closing=closing, heartbeat=heartbeat, gather=gather, clock=clock
    )
    return [Route("/api/v1/batches/{batch_id:uuid}/events", strict(stream.events, "after"))]


def _begin(request: Request) -> int:
    given = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    if not (given.isascii() and given.isdigit() and len(given) <= 18):  # noqa: PLR2004 - what SQLite counts to
        raise InvalidRequest(
            "Last-Event-ID must be the id of a verdict event.",
            errors=(("Last-Event-ID", "must be a whole number"),),
        )
    return int(given)


def _event(name: str, data: object, *, order: int | None = None) -> ServerSentEvent:
    return ServerSentEvent(
        json.dumps(data, ensure_ascii=False, separators=(",", ":")),
        event=name,
        id=None if order is None else str(order),
        sep="\n",
    )
