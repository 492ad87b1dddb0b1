"""Analyses of batches from the store: made off the event loop, one at a time, and kept until the scores change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from uuid import UUID

import anyio

from app.cj.analysis import Analysis, Graded, analyse, grades_of, needs_a_look
from app.cj.grade_scales import GradeScale
from app.cj.material import Material, material
from app.cj.worklist import NeedsLook
from app.database import Database
from app.errors import NotFound

_KEPT = 8


class Analyses:
    """What the statistics say of the shown scores. Every method raises NotFound when there is no such batch.

    Only complete waves are read, and these never change: an analysis is good as long as no later wave is fitted.
    """

    def __init__(self, database: Database, scales: Mapping[str, GradeScale]) -> None:
        self.scales = scales
        self._database = database
        self._kept: OrderedDict[UUID, Analysis] = OrderedDict()
        self._one_at_a_time = anyio.Lock()

    async def material(self, batch_id: UUID) -> Material:
        """The batch with the verdicts inside its scores."""
        return await self._database.read(partial(material, batch_id=batch_id))

    async def analysis(self, batch_id: UUID) -> Analysis:
        """All figures but grades."""
        try:
            found = await self.material(batch_id)
        except NotFound:
            self._kept.pop(batch_id, None)
            raise
        async with self._one_at_a_time:
            kept = self._kept.get(batch_id)
            if kept is None or kept.material.batch.fitted_wave != found.batch.fitted_wave:
                kept = await anyio.to_thread.run_sync(analyse, found)
                self._kept[batch_id] = kept
            self._kept.move_to_end(batch_id)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return kept

    async def graded(self, batch_id: UUID, scale: str | None = None) -> tuple[Analysis, Graded]:
        """The analysis with grades, on the scale of that name or on the first that fits.

        :raises NotFound: no such batch, or no such scale.
        :raises InvalidRequest: a level is no grade of that scale.
        """
        analysis = await self.analysis(batch_id)
        levels = analysis.material.levels
        work = partial(grades_of, analysis.fit, analysis.material.names, levels, self.scales, scale)
        return analysis, await anyio.to_thread.run_sync(work)

    async def worklist(self, batch_id: UUID) -> list[NeedsLook]:
        """The essays that a person should look at, the most pressing first."""
        return needs_a_look(*await self.graded(batch_id))
