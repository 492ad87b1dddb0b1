"""The pages behind a ranking: how its reliability grew, its judges, who beat whom, one essay, and what if."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.cj.analyses import Analyses
from app.cj.analysis import Analysis, needs_a_look
from app.cj.batch import ComparisonState
from app.cj.ladder import ladder
from app.cj.meetings import Meeting, bands, meetings
from app.cj.reports import diagnostics_report, grades_report, judges_report
from app.cj.scoring_ranking import RankedEssay
from app.cj.statistics.normal import wilson_interval
from app.cj.views import Views
from app.errors import NotFound, Unavailable
from app.web import what_if
from app.web.defaults import Offered
from app.web.plots import NARROW, Cell, Interval, Step, intervals, matrix, path, slope
from app.web.quality import chances, strongest_bias
from app.web.rendering import page, render

PATIENCE = 10.0
"""Seconds for which a page waits for an analysis; it is finished all the same, for the next reader."""
SHOWN_APART = 40
"""Up to so many essays each has a row of its own in the matrix."""
BANDS = 12
"""Beyond, neighbours in rank are taken together into so many bands."""
_DISAGREEMENTS = 20


class StatisticsPages:
    """Reads only. Every figure is of the verdicts inside the shown scores unless the page says otherwise."""

    def __init__(self, analyses: Analyses, views: Views, offered: Offered) -> None:
        self._analyses = analyses
        self._views = views
        self._offered = offered

    def routes(self) -> list[BaseRoute]:
        """One page to an address."""
        one = "/batches/{batch_id:uuid}"
        return [
            Route(f"{one}/path", page(self.path), methods=["GET"]),
            Route(f"{one}/judges", page(self.judges), methods=["GET"]),
            Route(f"{one}/matrix", page(self.matrix), methods=["GET"]),
            Route(f"{one}/essays/{{position:int}}", page(self.essay), methods=["GET"]),
            Route(f"{one}/what-if", page(self.what_if), methods=["GET"]),
        ]

    async def _analysis(self, batch_id: UUID) -> Analysis:
        """All figures but grades.

        :raises Unavailable: they are still being worked out.
        """
        if (found := await self._analyses.soon(batch_id, PATIENCE)) is not None:
            return found
        raise Unavailable(
            "The statistics of this batch are still being worked out.",
            hint="Load this page again in a while: what is worked out then stays.",
            retry_after=PATIENCE,
        )

    async def path(self, request: Request) -> Response:
        """GET …/path: the reliability after each wave."""
        summary = await self._views.summary(_id(request))
        batch, fits = summary.batch, await self._views.fits(summary.batch.id)
        steps = [Step(2 * one.verdicts / batch.essays, one.reliability) for one in fits]
        goal = batch.settings.target_reliability
        return render(
            request,
            "path.html",
            summary=summary,
            batch=batch,
            rows=[(one, strongest_bias(one)) for one in fits],
            plot=path(steps, goal=goal),
            narrow_plot=path(steps, goal=goal, width=NARROW, ident="narrow"),
        )

    async def judges(self, request: Request) -> Response:
        """GET …/judges: how well each agrees with the scale, with itself and with the others."""
        summary = await self._views.summary(_id(request))
        analysis = await self._analysis(summary.batch.id)
        report = judges_report(analysis, most=_DISAGREEMENTS)
        biases = [
            Interval(one.name, one.position.value, one.position.low, one.position.high)
            for one in report.judges
            if one.verdicts
            and one.position.value is not None
            and one.position.low is not None
            and one.position.high is not None
        ]
        draw = partial(intervals, biases, title="Position bias of each judge", unit="logits", fair=0.0)
        first = {
            one.judge: wilson_interval((one.first_wins or 0.0) * one.verdicts, one.verdicts)
            for one in report.judges
        }
        return render(
            request,
            "judges.html",
            summary=summary,
            batch=summary.batch,
            report=report,
            all_disagreements=len(analysis.quality.disagreements),
            places={name: n for n, name in enumerate(analysis.material.names)},
            first=first,
            unpriced=(await self._offered()).unpriced(summary.batch.settings),
            tallies=await self._views.judge_tallies(summary.batch.id),
            plot=draw(),
            narrow_plot=draw(width=NARROW, ident="narrow"),
        )

    async def matrix(self, request: Request) -> Response:
        """GET …/matrix: who beat whom, essay by essay or, with many of them, band by band."""
        summary = await self._views.summary(_id(request))
        material = await self._analyses.material(summary.batch.id)
        rows = await self._views.ranking(summary.batch.id)
        apart = len(rows) <= SHOWN_APART
        order = [row.position for row in rows]
        groups = bands(order, len(order) if apart else BANDS)
        place = {essay: n for n, members in enumerate(groups) for essay in members}
        met = meetings(material, [place[n] for n in range(len(order))])
        labels = [row.essay for row in rows] if apart else _ranks(groups)
        cells = {pair: Cell(one.wins, one.verdicts) for pair, one in met.items()}
        desc = _described(rows, met, apart=apart)
        return render(
            request,
            "matrix.html",
            summary=summary,
            batch=summary.batch,
            apart=apart,
            labels=labels,
            order=order,
            met=met,
            plot=matrix(labels, cells, desc=desc),
        )

    async def essay(self, request: Request) -> Response:
        """GET …/essays/{position}: its ladder, its reasons and its text."""
        summary = await self._views.summary(_id(request))
        batch_id, position = summary.batch.id, int(request.path_params["position"])
        if position >= summary.batch.essays:
            raise NotFound(f"There is no essay number {position} in this batch.")
        text = await self._views.essay_text(batch_id, position)
        await self._analysis(batch_id)
        analysis, graded = await self._analyses.graded(batch_id)
        grades = grades_report(analysis, graded)
        looks = needs_a_look(analysis, graded)
        rows = await self._views.ranking(batch_id)
        told = await self._views.comparisons_of(batch_id, position)
        return render(
            request,
            "essay.html",
            summary=summary,
            batch=summary.batch,
            row=next(row for row in rows if row.position == position),
            others={row.position: row for row in rows},
            rungs=ladder(analysis, position),
            told={one.sequence: one for one in told},
            audits=[one for one in told if one.audit_of and one.state is ComparisonState.DECIDED],
            judges=analysis.material.judges,
            fit=diagnostics_report(analysis, (), ()).essays[position],
            concerns=[each.words for one in looks if one.essay == position for each in one.concerns],
            grades=grades,
            graded=grades.essays[position],
            chances=chances(grades.grades, grades.essays[position]),
            text=text,
        )

    async def what_if(self, request: Request) -> Response:
        """GET …/what-if?judge=0&essay=3: both rankings; nothing is stored."""
        summary = await self._views.summary(_id(request))
        asked = what_if.read(request.query_params)
        material = await self._analyses.material(summary.batch.id)
        question = what_if.question(asked, material)
        supposed = asked.something and bool(material.judgements)
        found = await self._analyses.suppose(material, question) if supposed else None
        moves = what_if.moves(found.essays) if found else []
        return render(
            request,
            "what_if.html",
            summary=summary,
            batch=summary.batch,
            material=material,
            asked=asked,
            found=found,
            drawn=len(moves),
            command=what_if.command(summary.batch.id, question),
            plot=slope(moves),
            narrow_plot=slope(moves, width=NARROW, ident="narrow"),
        )


def _ranks(groups: list[list[int]]) -> list[str]:
    """Bands by the ranks in them."""
    labels, begin = [], 1
    for members in groups:
        labels.append(f"ranks {begin} to {begin + len(members) - 1}")
        begin += len(members)
    return labels


def _described(rows: list[RankedEssay], met: dict[tuple[int, int], Meeting], *, apart: bool) -> str:
    """The matrix in words."""
    verdicts = sum(one.verdicts for one in met.values()) // 2
    upsets = sum(one.verdicts - one.wins for (row, column), one in met.items() if row < column)
    what = "essays, best first" if apart else f"essays in {BANDS} bands of neighbouring ranks, best first"
    return (
        f"{len(rows)} {what}, against each other: {verdicts} verdicts. In {upsets:g} of them the one that "
        "stands lower in the ranking won; a tie counts half. A square is dark where its row won."
    )


def _id(request: Request) -> UUID:
    found: UUID = request.path_params["batch_id"]
    return found
