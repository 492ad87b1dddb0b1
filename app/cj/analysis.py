"""Everything the statistics say about one batch. Pure: material in, figures out, the same for the same material."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.cj.grade_scales import GradeScale
from app.cj.material import Material
from app.cj.statistics import NotConverged
from app.cj.statistics.bradley_terry import Fit, fit
from app.cj.statistics.grades import NO_GRADE, Grading, RankingOnly, grade
from app.cj.statistics.quality import Quality, quality
from app.cj.statistics.reliability import SeparationReliability, separation_reliability
from app.cj.statistics.split_half import SplitHalf, split_by_judges, split_by_verdicts
from app.cj.worklist import Evidence, NeedsLook, worklist
from app.errors import NotFound

_NO_ANCHORS = RankingOnly("Ranking, not grades: no essay has a known grade.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """A batch and what is to be said of its scores, its judges and its essays, but for grades: these need a scale."""

    material: Material
    fit: Fit
    separation: SeparationReliability
    halves_of_verdicts: SplitHalf
    halves_of_judges: SplitHalf
    quality: Quality


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graded:
    """Grades on the scale called `name`, or why there are none; without a scale there is none to name."""

    name: str | None
    scale: GradeScale | None
    found: Grading | RankingOnly

    @property
    def grading(self) -> Grading | None:
        """The grades, if there are any."""
        return self.found if isinstance(self.found, Grading) else None

    @property
    def reason(self) -> str | None:
        """Why this is a ranking and not grades, if it is none."""
        return self.found.reason if isinstance(self.found, RankingOnly) else None

    @property
    def grades(self) -> Sequence[str]:
        """The grades of the scale, lowest first."""
        return self.scale.grades if self.scale else ()

    def likeliest(self, essays: int) -> list[str | None]:
        """The most probable grade of each of so many essays; None where there is none."""
        if (grading := self.grading) is None:
            return [None] * essays
        return [None if number == NO_GRADE else self.grades[number] for number in grading.likeliest.tolist()]


def analyse(material: Material) -> Analysis:
    """Fit from the beginning, so that the figures depend on the verdicts alone; halves are drawn by the batch's seed."""
    scored, items, seed = material.scored, len(material.names), material.batch.settings.seed
    fitted = fit(scored, items)
    return Analysis(
        material=material,
        fit=fitted,
        separation=separation_reliability(fitted.scores, fitted.standard_errors),
        halves_of_verdicts=split_by_verdicts(scored, fitted, seed=seed),
        halves_of_judges=split_by_judges(scored, fitted, seed=seed),
        quality=quality(scored, fitted, with_audits=material.all),
    )


def grades_of(
    fitted: Fit,
    names: Sequence[str],
    levels: Sequence[str | None],
    scales: Mapping[str, GradeScale],
    name: str | None = None,
) -> Graded:
    """Grade by the essays whose level is known, on the scale of that name, or on the first that has all their levels.

    :raises NotFound: there is no scale of that name.
    :raises InvalidRequest: a level is no grade of the scale that was named.
    """
    if name is not None and name not in scales:
        raise NotFound(f"There is no grade scale {name!r}.", hint=f"There are {', '.join(scales)}.")
    known = [level for level in levels if level is not None]
    if not known:
        return Graded(name=name, scale=scales.get(name or ""), found=_NO_ANCHORS)
    if name is None:
        name = next((each for each, scale in scales.items() if set(known) <= set(scale.grades)), None)
    if name is None:
        why = f"Ranking, not grades: no scale has all of {', '.join(sorted(set(known)))}."
        return Graded(name=None, scale=None, found=RankingOnly(why))
    scale = scales[name]
    anchors = np.array([NO_GRADE if n is None else n for n in scale.numbers(names, levels)], dtype=np.int64)
    shares = None if scale.shares is None else np.array(scale.shares)
    try:
        found = grade(fitted, anchors, grades=len(scale.grades), shares=shares)
    except NotConverged:
        found = RankingOnly("Ranking, not grades: no boundaries between grades fit these anchors.")
    return Graded(name=name, scale=scale, found=found)


def needs_a_look(analysis: Analysis, graded: Graded) -> list[NeedsLook]:
    """The essays that a person should look at, with the reasons."""
    material = analysis.material
    return worklist(
        Evidence(
            names=material.names,
            words=material.words,
            judges=material.judges,
            flags=material.flags,
            grading=graded.grading,
            inversions=graded.found.inversions,
            grades=graded.grades,
            anchors=frozenset(n for n, level in enumerate(material.levels) if level is not None),
            fit=analysis.quality.essays,
            favours=analysis.quality.favours,
            disagreements=analysis.quality.disagreements,
        )
    )
