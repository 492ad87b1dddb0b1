"""The pages of batches: the list, the new one, the live one, the ranking, and what may be done with each."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app.cj.analyses import Analyses
from app.cj.batch import Batch, BatchState
from app.cj.material import judge_names
from app.cj.scoring_ranking import RankedEssay
from app.cj.views import Views
from app.cj.workflow import Workflow
from app.errors import InvalidRequest, NotFound
from app.web import STATIC
from app.web.defaults import Offered
from app.web.downloads import FILES, Downloads
from app.web.new_batch import CheckJudge, NewBatches, essay_looks, what_it_comes_to
from app.web.plots import NARROW, caterpillar, chances_bar
from app.web.quality import chances, strongest_bias, worked_out
from app.web.rendering import page, render
from app.web.snapshot import LATEST, Clock, Look, latest_verdicts, take, total
from app.web.statistics_pages import PATIENCE, StatisticsPages
from app.web.waits import waits

_PAGES = {
    BatchState.READY: "check",
    BatchState.RUNNING: "live",
    BatchState.PAUSED: "live",
    BatchState.FINISHED: "ranking",
    BatchState.CANCELLED: "ranking",
}
_DIGITS = 6
_SORTS: dict[str, Callable[[RankedEssay], Any]] = {
    "rank": lambda row: row.rank,
    "essay": lambda row: row.essay.casefold(),
    "level": lambda row: row.level or "",
    "score": lambda row: -float("inf") if row.score is None else row.score,
    "se": lambda row: float("inf") if row.se is None else row.se,
    "comparisons": lambda row: row.comparisons,
}


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked before something that cannot be undone."""

    verb: str
    title: str
    button: str


_CANCEL = _Question("cancel", "Cancel this batch?", "Cancel the batch")
_DELETE = _Question("delete", "Delete this batch?", "Delete the batch")


class Pages:
    """Every page reads the store anew; every action ends in a redirect, so that a reload repeats nothing."""

    def __init__(
        self,
        *,
        workflow: Workflow,
        views: Views,
        analyses: Analyses,
        offered: Offered,
        new: NewBatches,
        look: Look,
        clock: Clock,
    ) -> None:
        self._workflow = workflow
        self._views = views
        self._analyses = analyses
        self._offered = offered
        self._new = new
        self._look = look
        self._clock = clock

    async def batches(self, request: Request) -> Response:
        """GET /: every batch, or how to begin."""
        batches = await self._views.batches()
        defaults = await self._offered()
        entries = [(batch, defaults.kinds_of(batch.settings), total(batch)) for batch in batches]
        return render(request, "batches.html", entries=entries, **self._new.blank(defaults))

    async def batch(self, request: Request) -> Response:
        """GET /batches/{id}: to the page that fits its state."""
        batch = await self._views.batch(_id(request))
        return RedirectResponse(f"/batches/{batch.id}/{_PAGES[batch.state]}", status_code=303)

    async def check(self, request: Request) -> Response:
        """GET …/check: what was handed in and what a start comes to, before anything is spent."""
        batch = await self._views.batch(_id(request))
        if batch.state is not BatchState.READY:
            return RedirectResponse(f"/batches/{batch.id}", status_code=303)
        defaults = await self._offered()
        essays = await self._views.essays(batch.id)
        return render(
            request,
            "check.html",
            batch=batch,
            essays=essay_looks(essays),
            estimate=what_it_comes_to(batch, essays, defaults),
            choice=defaults.choice_of(batch.settings),
            kinds=defaults.kinds_of(batch.settings),
        )

    async def live(self, request: Request) -> Response:
        """GET …/live: the batch at work."""
        batch = await self._views.batch(_id(request))
        if batch.state is BatchState.READY:
            return RedirectResponse(f"/batches/{batch.id}/check", status_code=303)
        verdicts = await latest_verdicts(self._views, batch)
        offered = await self._offered()
        return render(
            request,
            "live.html",
            batch=batch,
            now=await take(self._views, batch.id, self._look, self._clock()),
            kinds=offered.kinds_of(batch.settings),
            unpriced=offered.unpriced(batch.settings),
            verdicts=verdicts,
            after=batch.decided + batch.failed,
            most=LATEST,
        )

    async def ranking(self, request: Request) -> Response:
        """GET …/ranking: the ranked list with its uncertainty, its origin and its table twin."""
        summary = await self._views.summary(_id(request))
        rows = await self._views.ranking(summary.batch.id)
        column = request.query_params.get("sort", "rank")
        column = column if column in _SORTS else "rank"
        falling = request.query_params.get("order") == "desc"
        flagged, fits = await self._views.flagged(summary.batch.id), await self._views.fits(summary.batch.id)
        found = await worked_out(self._analyses, summary, path=fits, flagged=flagged, patience=PATIENCE)
        lines = found.lines if found else None
        return render(
            request,
            "ranking.html",
            summary=summary,
            batch=summary.batch,
            waits=await self._waits(summary.batch),
            unpriced=(await self._offered()).unpriced(summary.batch.settings),
            rows=rows,
            flagged=flagged,
            quality=found,
            graded=found.graded if found else {},
            groups=found.islands if found else {},
            islands=fits[-1].islands if fits else 1,
            bias=strongest_bias(fits[-1]) if fits else None,
            judges=judge_names(summary.batch.settings),
            chances=chances,
            chances_bar=chances_bar,
            table=sorted(rows, key=_SORTS[column], reverse=falling),
            column=column,
            falling=falling,
            plot=caterpillar(rows, grades=lines),
            narrow_plot=caterpillar(rows, grades=lines, width=NARROW, ident="narrow"),
            addition=addition(summary.batch, await self._views.pairs(summary.batch.id)),
        )

    async def start(self, request: Request) -> Response:
        """POST …/start: begin."""
        batch = await self._workflow.start(_id(request))
        return RedirectResponse(f"/batches/{batch.id}/live", status_code=303)

    async def add(self, request: Request) -> Response:
        """POST …/add: go on with a finished batch; sent twice, it adds once."""
        async with request.form(max_files=0, max_fields=10) as form:
            more, beyond = (whole_number(form.get(name), name) for name in ("comparisons", "beyond"))
        batch = await self._workflow.add(_id(request), more, beyond=beyond)
        return RedirectResponse(f"/batches/{batch.id}/live", status_code=303)

    async def resume(self, request: Request) -> Response:
        """POST …/resume: go on."""
        batch = await self._workflow.resume(_id(request))
        return RedirectResponse(f"/batches/{batch.id}/live", status_code=303)

    async def pause(self, request: Request) -> Response:
        """POST …/pause: send nothing more for now."""
        batch = await self._workflow.pause(_id(request))
        return RedirectResponse(f"/batches/{batch.id}/live", status_code=303)

    async def cancel(self, request: Request) -> Response:
        """GET …/cancel asks, with what it would end; POST with `confirm=yes` does it."""
        if not await _confirmed(request):
            return await self._ask(request, _CANCEL)
        batch = await self._workflow.cancel(_id(request))
        return RedirectResponse(f"/batches/{batch.id}/ranking", status_code=303)

    async def delete(self, request: Request) -> Response:
        """GET …/delete asks, with what would be gone; POST with `confirm=yes` does it."""
        if not await _confirmed(request):
            return await self._ask(request, _DELETE)
        await self._workflow.delete(_id(request))
        return RedirectResponse("/", status_code=303)

    async def _waits(self, batch: Batch) -> str:
        if batch.state is not BatchState.RUNNING:  # nothing to ask the provider for
            return ""
        return waits(batch, await self._look(), self._clock())

    async def _ask(self, request: Request, question: _Question) -> Response:
        summary = await self._views.summary(_id(request))
        return render(request, "confirm.html", question=question, batch=summary.batch, summary=summary)


def routes(
    *,
    workflow: Workflow,
    views: Views,
    analyses: Analyses,
    offered: Offered,
    look: Look,
    check_judge: CheckJudge,
    upload_limit: int = 20_000_000,
    upload_timeout: float = 60.0,
    clock: Clock = time.time,
) -> list[BaseRoute]:
    """The routes of all pages and of the files they load."""
    new = NewBatches(
        workflow,
        offered,
        check_judge=check_judge,
        upload_limit=upload_limit,
        upload_timeout=upload_timeout,
    )
    pages = Pages(
        workflow=workflow,
        views=views,
        analyses=analyses,
        offered=offered,
        new=new,
        look=look,
        clock=clock,
    )

    def get(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, page(endpoint), methods=["GET"])

    def post(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, page(endpoint), methods=["POST"])

    downloads = Downloads(views, analyses, offered)
    one = "/batches/{batch_id:uuid}"
    return [
        get("/", pages.batches),
        get("/batches/new", new.form),
        post("/batches", new.submit),
        get(one, pages.batch),
        get(f"{one}/check", pages.check),
        get(f"{one}/live", pages.live),
        get(f"{one}/ranking", pages.ranking),
        *StatisticsPages(analyses, views, offered).routes(),
        *(get(f"{one}/{name}", downloads.file) for name in FILES),
        post(f"{one}/start", pages.start),
        post(f"{one}/add", pages.add),
        post(f"{one}/resume", pages.resume),
        post(f"{one}/pause", pages.pause),
        *(add(f"{one}/cancel", pages.cancel) for add in (get, post)),
        *(add(f"{one}/delete", pages.delete) for add in (get, post)),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
    ]


def addition(batch: Batch, asked: int) -> int:
    """How many comparisons the page offers to add: three rounds, or what is left of all pairs; `asked` were."""
    every_pair = batch.essays * (batch.essays - 1) // 2
    return max(0, min(3 * (batch.essays // 2), every_pair - asked))


def whole_number(typed: object, name: str) -> int:
    """A number from a form.

    :raises InvalidRequest: it is none, or none that makes sense.
    """
    if isinstance(typed, str) and typed.isascii() and typed.isdecimal() and 1 <= len(typed) <= _DIGITS:
        return int(typed)
    raise InvalidRequest("That is no number of comparisons.", errors=((name, "must be a whole number"),))


async def _confirmed(request: Request) -> bool:
    if request.method != "POST":
        return False
    async with request.form(max_files=0, max_fields=10) as form:
        return form.get("confirm") == "yes"


def _id(request: Request) -> UUID:
    batch_id = request.path_params["batch_id"]
    if not isinstance(batch_id, UUID):
        raise NotFound("There is no such batch.")
    return batch_id
