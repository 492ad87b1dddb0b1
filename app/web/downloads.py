"""Files to keep of a batch: the ranking, every judgement, the report."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from app.cj.views import Comparison, Views
from app.web import report
from app.web.defaults import Offered
from app.web.rendering import download

FILES = ("ranking.csv", "ranking.json", "judgements.csv", "report.html")
_CHUNK = 1000


class Downloads:
    """Each file is made when it is asked for, from what is stored then."""

    def __init__(self, views: Views, offered: Offered) -> None:
        self._views = views
        self._offered = offered

    async def file(self, request: Request) -> Response:
        """GET /batches/{id}/<file>."""
        batch_id: UUID = request.path_params["batch_id"]
        summary = await self._views.summary(batch_id)
        unpriced = (await self._offered()).unpriced(summary.batch.settings)
        name = request.url.path.rsplit("/", 1)[-1]
        if name == "judgements.csv":
            judgements = report.judgements_csv(await self._comparisons(batch_id), unpriced=unpriced)
            return download(judgements, name=name, media_type="text/csv")
        rows = await self._views.ranking(batch_id)
        if name == "ranking.csv":
            return download(report.ranking_csv(summary, rows), name=name, media_type="text/csv")
        if name == "ranking.json":
            document = report.ranking_json(
                summary, rows, await self._views.flagged(batch_id), unpriced=unpriced
            )
            return download(document, name=name, media_type="application/json")
        document = report.report_html(summary, rows, await self._comparisons(batch_id), unpriced=unpriced)
        return download(document, name=name, media_type="text/html")

    async def _comparisons(self, batch_id: UUID) -> Sequence[Comparison]:
        """Every comparison in sequence."""
        found: list[Comparison] = []
        while chunk := await self._views.comparisons(
            batch_id, after=found[-1].sequence if found else 0, limit=_CHUNK
        ):
            found += chunk
        return found
