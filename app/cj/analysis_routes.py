"""The statistics of a batch over HTTP: judges, diagnostics, grades, suppositions, and the bundle of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.cj import reports, what_if
from app.cj.analyses import Analyses
from app.cj.bundle import Origin, write_bundle
from app.cj.material import Material
from app.cj.routes import identify
from app.cj.scoring_ranking import RankedEssay
from app.cj.views import Comparison, Views
from app.cj.what_if import Question
from app.edge import parse, read_body, strict, written
from app.errors import Conflict, InvalidRequest

BUNDLE = "bundle"
_CHUNK = 1000
_TRIES = 10


class AnalysisApi:
    """Reads only: nothing here changes a batch. `made_with` goes into each bundle."""

    def __init__(
        self,
        analyses: Analyses,
        views: Views,
        *,
        made_with: Origin,
        body_limit: int,
        body_timeout: float,
    ) -> None:
        self._analyses = analyses
        self._views = views
        self._made_with = made_with
        self._body_limit = body_limit
        self._body_timeout = body_timeout

    def routes(self) -> list[Route]:
        """The routes, each with its method."""
        one = "/api/v1/batches/{batch_id}"
        return [
            Route(f"{one}/judges", strict(self.judges), methods=["GET"]),
            Route(f"{one}/diagnostics", strict(self.diagnostics), methods=["GET"]),
            Route(f"{one}/grades", strict(self.grades, "scale"), methods=["GET"]),
            Route(f"{one}/what-if", strict(self.what_if), methods=["POST"]),
            Route(f"{one}/export", strict(self.export, "format"), methods=["GET"]),
        ]

    async def judges(self, request: Request) -> Response:
        """Each judge configuration: bias, agreement, consistency, misfit."""
        analysis = await self._analyses.analysis(identify(request, "batch_id"))
        return written(reports.JUDGES, reports.judges_report(analysis))

    async def diagnostics(self, request: Request) -> Response:
        """How far the scores can be trusted, and what a person should look at."""
        batch_id = identify(request, "batch_id")
        analysis = await self._analyses.analysis(batch_id)
        path, looks = await self._views.fits(batch_id), await self._analyses.worklist(batch_id)
        return written(reports.DIAGNOSTICS, reports.diagnostics_report(analysis, path, looks))

    async def grades(self, request: Request) -> Response:
        """Grades by anchors on the scale asked for, or on the first that fits."""
        scale = request.query_params.get("scale")
        analysis, graded = await self._analyses.graded(identify(request, "batch_id"), scale)
        return written(reports.GRADES, reports.grades_report(analysis, graded))

    async def what_if(self, request: Request) -> Response:
        """Both rankings, with and without what is to be left out."""
        batch_id = identify(request, "batch_id")
        asked = parse(Question, await read_body(request, limit=self._body_limit, deadline=self._body_timeout))
        material = await self._analyses.material(batch_id)
        return written(what_if.ANSWER, await self._analyses.suppose(material, asked))

    async def export(self, request: Request) -> Response:
        """The bundle, as a file to keep."""
        batch_id = identify(request, "batch_id")
        if (asked := request.query_params.get("format", BUNDLE)) != BUNDLE:
            raise InvalidRequest(
                f"There is no export as {asked!r}.", errors=(("format", f"must be {BUNDLE}"),)
            )
        material, shown = await self._as_shown(batch_id)
        comparisons = await self._comparisons(batch_id)
        work = partial(write_bundle, material, shown, comparisons, self._made_with)
        name = f'attachment; filename="{batch_id}.zip"'
        return Response(
            await anyio.to_thread.run_sync(work),
            media_type="application/zip",
            headers={"content-disposition": name},
        )

    async def _as_shown(self, batch_id: UUID) -> tuple[Material, Sequence[RankedEssay]]:
        """The verdicts and the scores of one moment: between two reads another wave may be fitted."""
        for _ in range(_TRIES):
            material = await self._analyses.material(batch_id)
            shown = await self._views.ranking(batch_id)
            if (await self._views.batch(batch_id)).fitted_wave == material.batch.fitted_wave:
                return material, shown
        raise Conflict("The scores of the batch change while they are read.", hint="Ask again.")

    async def _comparisons(self, batch_id: UUID) -> Sequence[Comparison]:
        """Every comparison in sequence."""
        found: list[Comparison] = []
        while chunk := await self._views.comparisons(
            batch_id, after=found[-1].sequence if found else 0, limit=_CHUNK
        ):
            found += chunk
        return found
