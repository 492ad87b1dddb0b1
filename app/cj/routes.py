"""cj over HTTP: batches and what they hold, as JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.cj import answers
from app.cj.answers import BatchList, BatchRanking, ComparisonPage, CountedBatch
from app.cj.batch import AskedSettings, Batch, BatchSettings, NewBatch, NewEssays, Question, Title
from app.cj.essays import doubts, least_words
from app.cj.estimate import estimate, require_prices
from app.cj.views import Views
from app.cj.workflow import Workflow
from app.contracts import LLMConfigOverrides, ModelList
from app.contracts.wire import Wire
from app.edge import Endpoint, parse, read_body, strict, written
from app.errors import InvalidRequest, NotFound, Unavailable

PAGE = 1000


class BatchRequest(Wire):
    """POST /api/v1/batches. Settings left out are those of the server's configuration."""

    title: Title = "Untitled"
    question: Question
    essays: NewEssays
    settings: AskedSettings = AskedSettings()
    start: bool = True


class Addition(Wire):
    """POST /api/v1/batches/{batch_id}/add. `beyond` is how many comparisons the batch had when this was decided."""

    comparisons: int = Field(ge=1, le=1_000_000)
    beyond: int | None = Field(None, ge=0)


class BatchApi:
    """The endpoints under /api/v1; every error is raised and becomes a problem document at the edge.

    `check_judge` raises InvalidRequest for a judge that could never answer; `longest_expiry` is in seconds.
    """

    def __init__(
        self,
        workflow: Workflow,
        views: Views,
        *,
        defaults: Callable[[], BatchSettings],
        check_judge: Callable[[LLMConfigOverrides], Awaitable[None]],
        models: Callable[[], Awaitable[ModelList]],
        longest_expiry: float,
        body_limit: int,
        body_timeout: float,
    ) -> None:
        self._workflow = workflow
        self._views = views
        self._defaults = defaults
        self._check_judge = check_judge
        self._models = models
        self._longest_expiry = longest_expiry
        self._body_limit = body_limit
        self._body_timeout = body_timeout

    def routes(self) -> list[Route]:
        """The routes, each with its method."""
        one = "/api/v1/batches/{batch_id}"
        return [
            _by_method("/api/v1/batches", GET=self.index, POST=self.create),
            Route("/api/v1/estimate", strict(self.estimate), methods=["POST"]),
            _by_method(one, GET=self.show, DELETE=self.delete),
            Route(f"{one}/ranking", strict(self.ranking), methods=["GET"]),
            Route(f"{one}/comparisons", strict(self.comparisons, "after"), methods=["GET"]),
            Route("/api/v1/comparisons/{comparison_id}", strict(self.comparison), methods=["GET"]),
            Route(f"{one}/start", _action(self._workflow.start), methods=["POST"]),
            Route(f"{one}/resume", _action(self._workflow.resume), methods=["POST"]),
            Route(f"{one}/pause", _action(self._workflow.pause), methods=["POST"]),
            Route(f"{one}/add", strict(self.add), methods=["POST"]),
            Route(f"{one}/cancel", _action(self._workflow.cancel), methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """201 with the batch; nothing is stored when an essay or a setting is faulty."""
        body = await read_body(request, limit=self._body_limit, deadline=self._body_timeout)
        asked = parse(BatchRequest, body)
        new = NewBatch(
            title=asked.title,
            question=asked.question,
            essays=asked.essays,
            settings=merged(self._defaults(), asked.settings.model_dump(mode="json", exclude_unset=True)),
        )
        if new.settings.expires_in >= self._longest_expiry:
            raise InvalidRequest(
                "A setting is not allowed.",
                errors=(
                    (
                        "settings.expires_in",
                        f"must be below the provider's retention, {self._longest_expiry:g} s",
                    ),
                ),
            )
        for judge in new.settings.judges:
            await self._check(judge)
        with suppress(Unavailable):
            require_prices(new.settings, await self._models())
        least = least_words(new.settings.judges)
        if faults := [doubt for doubt in doubts(new.essays, least_words=least) if doubt.fatal]:
            raise InvalidRequest(
                "Some essays cannot be ranked.", errors=tuple((fault.file, fault.message) for fault in faults)
            )
        batch_id = await self._workflow.create(new, start=asked.start)
        return written(answers.BATCH, await self._views.batch(batch_id), status=201)

    async def estimate(self, request: Request) -> Response:
        """What a batch would come to at most, asked for with the body that would make it; nothing is stored."""
        body = await read_body(request, limit=self._body_limit, deadline=self._body_timeout)
        asked = parse(BatchRequest, body)
        settings = merged(self._defaults(), asked.settings.model_dump(mode="json", exclude_unset=True))
        found = estimate(
            [len(essay.text.encode()) for essay in asked.essays],
            len(asked.question.encode()),
            settings,
            await self._models(),
        )
        return written(answers.ESTIMATE, found)

    async def _check(self, judge: LLMConfigOverrides) -> None:
        """A provider that is away cannot be asked; the batch is stored all the same, and waits for it."""
        try:
            with suppress(Unavailable):
                await self._check_judge(judge)
        except InvalidRequest as error:
            faults = tuple((f"settings.judges.{field}", why) for field, why in error.errors)
            raise InvalidRequest(error.detail, errors=faults, hint=error.hint) from error

    async def index(self, _request: Request) -> Response:
        """Batches, the newest first."""
        return written(answers.BATCHES, BatchList(batches=await self._views.batches()))

    async def show(self, request: Request) -> Response:
        """One batch with its counts."""
        summary = await self._views.summary(identify(request, "batch_id"))
        return written(answers.COUNTED_BATCH, CountedBatch.of(summary))

    async def ranking(self, request: Request) -> Response:
        """The essays by score, best first."""
        batch_id = identify(request, "batch_id")
        batch = await self._views.batch(batch_id)
        rows = await self._views.ranking(batch_id)
        return written(answers.RANKING, BatchRanking(batch=batch, ranking=rows))

    async def comparisons(self, request: Request) -> Response:
        """Every comparison in order, a page at a time."""
        batch_id = identify(request, "batch_id")
        await self._views.batch(batch_id)
        rows = await self._views.comparisons(batch_id, after=_number(request, "after"), limit=PAGE)
        following = rows[-1].sequence if len(rows) == PAGE else None
        return written(answers.COMPARISONS, ComparisonPage(comparisons=rows, next_after=following))

    async def comparison(self, request: Request) -> Response:
        """One comparison by its correlation_id."""
        return written(answers.COMPARISON, await self._views.comparison(identify(request, "comparison_id")))

    async def add(self, request: Request) -> Response:
        """The batch as it is now: it goes on for so many comparisons."""
        batch_id = identify(request, "batch_id")
        asked = parse(Addition, await read_body(request, limit=self._body_limit, deadline=self._body_timeout))
        batch = await self._workflow.add(batch_id, asked.comparisons, beyond=asked.beyond)
        return written(answers.BATCH, batch)

    async def delete(self, request: Request) -> Response:
        """204; texts, verdicts and scores are gone once cancellations have been passed on."""
        await self._workflow.delete(identify(request, "batch_id"))
        return Response(status_code=204)


def _by_method(path: str, **endpoints: Endpoint) -> Route:
    """One route for a path, so that a 405 lists every method it takes."""

    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, strict(endpoint), methods=list(endpoints))


def _action(change: Callable[[UUID], Awaitable[Batch]]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return written(answers.BATCH, await change(identify(request, "batch_id")))

    return strict(endpoint)


def merged(defaults: BatchSettings, asked: dict[str, Any]) -> BatchSettings:
    """The defaults with what was asked for; faults are named as `settings.<field>`.

    :raises InvalidRequest: an unknown field or a value out of bounds.
    """
    try:
        return BatchSettings.model_validate_json(json.dumps(defaults.model_dump(mode="json") | asked))
    except ValidationError as error:
        faults = tuple(
            (".".join(("settings", *map(str, fault["loc"]))), fault["msg"])
            for fault in error.errors(include_input=False)
        )
        raise InvalidRequest("Some settings are not allowed.", errors=faults) from error


def identify(request: Request, name: str) -> UUID:
    """The id in the path.

    :raises NotFound: it is none.
    """
    text = request.path_params[name]
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no {name.removesuffix('_id')} {text!r}; ids are UUIDs.") from error


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):  # noqa: PLR2004 - what fits 64 bits
        raise InvalidRequest(
            "The cursor is no number.", errors=((name, "must be a whole number below 10^18"),)
        )
    return int(text)
