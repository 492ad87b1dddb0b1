"""Files to keep of a batch: the ranking, every judgement, the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from app.cj.analyses import Analyses
from app.cj.views import Comparison, Views, flagged
from app.web import report
from app.web.defaults import Offered
from app.web.quality import worked_out
from app.web.rendering import download

FILES = ("ranking.csv", "ranking.json", "judgements.csv", "report.html")
_CHUNK = 1000


class Downloads:
    """Each file is made when it is asked for, from what is stored then."""

    def __init__(self, views: Views, analyses: Analyses, offered: Offered) -> None:
        self._views = views
        self._analyses = analyses
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
        comparisons = () if name == "ranking.csv" else await self._comparisons(batch_id)
        quality = await worked_out(
            self._analyses,
            summary,
            path=await self._views.fits(batch_id),
            flagged=flagged(comparisons),
            patience=math.inf,
        )
        ranked = report.Ranked(
            summary=summary,
            rows=await self._views.ranking(batch_id),
            comparisons=comparisons,
            quality=quality,
            unpriced=unpriced,
        )
        match name:
            case "ranking.csv":
                return download(report.ranking_csv(ranked), name=name, media_type="text/csv")
            case "ranking.json":
                return download(report.ranking_json(ranked), name=name, media_type="application/json")
            case _:
                return download(report.report_html(ranked), name=name, media_type="text/html")

    async def _comparisons(self, batch_id: UUID) -> Sequence[Comparison]:
        """Every comparison in sequence."""
        found: list[Comparison] = []
        while chunk := await self._views.comparisons(
            batch_id, after=found[-1].sequence if found else 0, limit=_CHUNK
        ):
            found += chunk
        return found
