"""Analyses of batches from the store: made off the event loop, one at a time, and kept until the scores change."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from functools import partial
from uuid import UUID

import anyio

from app.cj.analysis import Analysis, Graded, analyse, grades_of, needs_a_look
from app.cj.batch import Batch
from app.cj.grade_scales import GradeScale
from app.cj.material import Material, material
from app.cj.store.batches import find_kept
from app.cj.what_if import Question, Supposition, suppose
from app.cj.worklist import NeedsLook
from app.database import Database
from app.errors import NotFound

_KEPT = 8


class Analyses:
    """What the statistics say of the shown scores. Methods that take a batch's id raise NotFound when there is none.

    Only complete waves are read, and these never change: an analysis is good as long as no later wave is fitted.
    """

    def __init__(self, database: Database, scales: Mapping[str, GradeScale]) -> None:
        self._scales = scales
        self._database = database
        self._kept: dict[UUID, Analysis] = {}
        self._at_work_on: UUID | None = None
        self._one_at_a_time = threading.Lock()

    async def material(self, batch_id: UUID) -> Material:
        """The batch with the verdicts inside its scores."""
        return await self._database.read(partial(material, batch_id=batch_id))

    async def analysis(self, batch_id: UUID) -> Analysis:
        """All figures but grades."""
        if (kept := await self._known(batch_id)) is not None:
            return kept
        return await anyio.to_thread.run_sync(self._analysed, await self.material(batch_id))

    async def soon(self, batch_id: UUID, patience: float) -> Analysis | None:
        """The same, or None when it takes longer than so many seconds; it is then finished for whoever asks next.

        None at once while it is being made for somebody else, unless patience has no end.
        """
        if (kept := await self._known(batch_id)) is not None:
            return kept
        if self._at_work_on == batch_id and patience < math.inf:
            return None
        found = await self.material(batch_id)
        with anyio.move_on_after(patience):
            return await anyio.to_thread.run_sync(self._analysed, found, abandon_on_cancel=True)
        return None

    async def _known(self, batch_id: UUID) -> Analysis | None:
        """The one that is kept, if no later wave was fitted since; its texts and verdicts are not read again."""
        try:
            batch = await self._database.read(partial(find_kept, batch_id=batch_id))
        except NotFound:
            self._kept.pop(batch_id, None)
            raise
        return self._of(batch)

    def _of(self, batch: Batch) -> Analysis | None:
        kept = self._kept.get(batch.id)
        return kept if kept and kept.material.batch.fitted_wave == batch.fitted_wave else None

    def _analysed(self, found: Material) -> Analysis:
        """In a thread: the one that is kept, or a new one, kept even if nobody waits for it any more."""
        with self._one_at_a_time:
            self._at_work_on = found.batch.id
            try:
                kept = self._of(found.batch) or analyse(found)
            finally:
                self._at_work_on = None
            self._kept.pop(found.batch.id, None)
            self._kept[found.batch.id] = kept
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return kept

    async def graded(self, batch_id: UUID, scale: str | None = None) -> tuple[Analysis, Graded]:
        """The analysis with grades, on the scale of that name or on the first that fits.

        :raises NotFound: no such batch, or no such scale.
        :raises InvalidRequest: a level is no grade of that scale.
        """
        analysis = await self.analysis(batch_id)
        return analysis, await self._grades(analysis, scale)

    async def _grades(self, analysis: Analysis, scale: str | None = None) -> Graded:
        levels = analysis.material.levels
        work = partial(grades_of, analysis.fit, analysis.material.names, levels, self._scales, scale)
        return await anyio.to_thread.run_sync(work)

    async def suppose(self, found: Material, asked: Question) -> Supposition:
        """What the ranking would be; nothing of it is kept.

        :raises InvalidRequest: something to leave out is not there, or nothing would be left to rank.
        :raises NotFound: no such scale.
        """
        return await anyio.to_thread.run_sync(suppose, found, asked, self._scales)

    async def worklist(self, batch_id: UUID) -> list[NeedsLook]:
        """The essays that a person should look at, the most pressing first."""
        return await self.looks(await self.analysis(batch_id))

    async def looks(self, analysis: Analysis) -> list[NeedsLook]:
        """The same of an analysis at hand, without reading the batch again."""
        return needs_a_look(analysis, await self._grades(analysis))
