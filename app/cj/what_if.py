"""What the ranking would be without a judge, an essay, an anchor, or the position term: the same verdicts, fitted anew.

Nothing is stored and nobody is asked: the batch stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import numpy as np
from pydantic import Field, TypeAdapter

from app.cj.analysis import Graded, grades_of
from app.cj.grade_scales import GradeScale
from app.cj.material import Material
from app.cj.reports import Figure
from app.cj.statistics.bradley_terry import Fit, Verdicts, fit
from app.cj.statistics.graph import island_count
from app.contracts.wire import Text, Wire, figure
from app.errors import InvalidRequest

_NAMED = 5
Names = Annotated[tuple[Annotated[Text, Field(max_length=200)], ...], Field(max_length=10_000)]


class Question(Wire):
    """What to leave out: judges by number, essays by name, the known grades of essays by name, the position term.

    `scale` names the scale of grades, where the levels do not say which.
    """

    without_judges: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=100)] = ()
    without_essays: Names = ()
    without_anchors: Names = ()
    position_term: bool = True
    scale: Annotated[Text, Field(max_length=100)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an essay stands in one of the two rankings; `grade` is the likeliest, null without grades.

    `rank` is among all essays; it compares those of one `island`, numbered from 0 in that ranking.
    """

    rank: int
    score: float
    se: float
    grade: str | None
    island: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An essay in both rankings; `after` is null for one that was left out.

    A `rise` of 2 is two
    ranks better among the essays left, a `score_change` is beside their mean: leaving one out moves no other.
    """

    position: int
    essay: str
    before: Place
    after: Place | None
    rise: int | None
    score_change: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: how many verdicts its scores rest on, how reliable they are, and why there are no grades, if none."""

    verdicts: int
    reliability: Figure
    sigma: Figure
    islands: int
    ungraded: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposition:
    """Both rankings, essays as they stand now; `scale` is that of the grades."""

    batch_id: UUID
    fitted_wave: int
    question: Question
    scale: str | None
    before: Side
    after: Side
    essays: Sequence[Change]


ANSWER = TypeAdapter(Supposition)


def suppose(material: Material, question: Question, scales: Mapping[str, GradeScale]) -> Supposition:
    """Fit the verdicts as they are, and those that are left.

    :raises InvalidRequest: something to leave out is not there, or nothing would be left to rank.
    :raises NotFound: there is no scale of that name.
    """
    _check(material, question)
    names, levels = material.names, material.levels
    kept = [n for n, name in enumerate(names) if name not in set(question.without_essays)]
    before, after = material.scored, _left(material, question, kept)
    first = fit(before, len(names))
    second = fit(after, len(kept), position=question.position_term)
    graded = grades_of(first, names, levels, scales, question.scale)
    left_names = [names[n] for n in kept]
    left_levels = [None if names[n] in question.without_anchors else levels[n] for n in kept]
    regraded = grades_of(second, left_names, left_levels, scales, graded.name)
    places = _places(first, graded)
    new_places = dict(zip(kept, _places(second, regraded), strict=True))
    ranks_before = {n: rank for rank, n in enumerate(sorted(kept, key=lambda n: places[n].rank), start=1)}
    centre = float(np.mean([places[n].score for n in kept]))
    changes = []
    for n in sorted(range(len(names)), key=lambda n: places[n].rank):
        now = new_places.get(n)
        changes.append(
            Change(
                position=n,
                essay=names[n],
                before=places[n],
                after=now,
                rise=None if now is None else ranks_before[n] - now.rank,
                score_change=None if now is None else now.score - (places[n].score - centre),
            )
        )
    return Supposition(
        batch_id=material.batch.id,
        fitted_wave=material.batch.fitted_wave,
        question=question,
        scale=graded.name,
        before=_side(before, first, graded),
        after=_side(after, second, regraded),
        essays=changes,
    )


def _check(material: Material, question: Question) -> None:
    """Name everything that is not there, all at once."""
    anchors = {name for name, level in zip(material.names, material.levels, strict=True) if level is not None}
    judges = len(material.batch.settings.judges)
    numbered = ", ".join(f"{n} {name}" for n, name in enumerate(material.judges))
    faults = [
        *(
            ("without_judges", f"there is no judge {n}; there are {numbered}")
            for n in question.without_judges
            if n >= judges
        ),
        *(
            ("without_essays", f"there is no essay {name!r}")
            for name in question.without_essays
            if name not in material.names
        ),
        *(
            ("without_anchors", f"{name!r} is no anchor")
            for name in question.without_anchors
            if name not in anchors
        ),
    ]
    if faults:
        told = "; ".join(what for _, what in faults[:_NAMED])
        raise InvalidRequest(f"What is to be left out is not there: {told}.", errors=tuple(faults))
    if len(set(question.without_judges)) >= judges:
        raise InvalidRequest("Without any judge there is no ranking.")
    if len(material.names) - len(set(question.without_essays)) < 2:  # noqa: PLR2004 - a pair
        raise InvalidRequest("A ranking needs at least two essays.")


def _left(material: Material, question: Question, kept: Sequence[int]) -> Verdicts:
    """The verdicts that are left, with essays numbered anew. Judges keep their numbers."""
    scored = material.scored
    heard = ~np.isin(scored.judge, list(question.without_judges))
    return scored.where(heard).among(np.array(kept, dtype=np.int64))


def _places(fitted: Fit, graded: Graded) -> list[Place]:
    grades = graded.likeliest(len(fitted.scores))
    order = np.argsort(-fitted.scores, kind="stable").tolist()
    ranks = {n: rank for rank, n in enumerate(order, start=1)}
    return [
        Place(
            rank=ranks[n],
            score=float(fitted.scores[n]),
            se=float(fitted.standard_errors[n]),
            grade=grades[n],
            island=int(fitted.islands[n]),
        )
        for n in range(len(order))
    ]


def _side(verdicts: Verdicts, fitted: Fit, graded: Graded) -> Side:
    return Side(
        verdicts=len(verdicts),
        reliability=figure(fitted.reliability),
        sigma=figure(fitted.sigma),
        islands=island_count(fitted.islands),
        ungraded=graded.reason,
    )
