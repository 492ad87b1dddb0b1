"""How far a ranking can be trusted, as the page of the ranking says it: beside the figures of an analysis, their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.cj.analyses import Analyses
from app.cj.analysis import needs_a_look
from app.cj.batch import BatchState
from app.cj.reports import (
    DiagnosticsReport,
    GradedEssay,
    GradesReport,
    diagnostics_report,
    grades_report,
)
from app.cj.statistics.normal import TWO_SIDED_95
from app.cj.statistics.sides import is_alarming
from app.cj.store import Milestone
from app.cj.views import Flagged, Summary
from app.cj.worklist import NeedsLook
from app.contracts import JudgeKind
from app.web import words
from app.web.plots import GradeLines

_SMALLEST_CHANCE = 0.05
_UNREAL = {JudgeKind.RULES.value, JudgeKind.SIMULATED.value}


@dataclass(frozen=True, slots=True)
class Bias:
    """The position term of one judge, among `judges` of them."""

    judge: int
    judges: int
    value: float
    low: float
    high: float

    @property
    def alarming(self) -> bool:
        """Beyond what verdicts of either order can be trusted with."""
        return is_alarming(self.value, self.low, self.high)


@dataclass(frozen=True, slots=True)
class Look:
    """An essay that a person should look at, and why, in sentences."""

    position: int
    essay: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What an analysis adds to a ranking. `illustration`: nobody who could grade has judged."""

    diagnostics: DiagnosticsReport
    grades: GradesReport
    looks: Sequence[Look]
    illustration: bool

    @property
    def lines(self) -> GradeLines | None:
        """Boundaries for the plot; none without grades, or with different ones on several islands."""
        found = self.grades
        if found.reason or not found.boundaries:
            return None
        return GradeLines(found.grades, found.boundaries)

    @property
    def graded(self) -> dict[int, GradedEssay]:
        """Grades by the number of the essay; nothing when this is a ranking."""
        return {} if self.grades.reason else {one.position: one for one in self.grades.essays}

    @property
    def caveats(self) -> list[str]:
        """What the grades rest on, in sentences: how strictly the anchors were graded, and what no anchor shows."""
        found, said = self.grades, []
        if found.severity is not None and found.severity_se is not None:
            how = "more strictly" if found.severity > 0 else "more leniently"
            by, reach = abs(found.severity), TWO_SIDED_95 * found.severity_se
            said.append(
                f"The anchors were graded {how} than the shares of the grades alone would do it, by {words.figure(by)}"
                f" logits (95 % interval {words.figure(by - reach)} to {words.figure(by + reach)})"
                f"{', which may be chance' if reach > by else ''}."
            )
        if found.unanchored:
            several, names = len(found.unanchored) > 1, ", ".join(found.unanchored)
            what, place = ("grades", "their places come") if several else ("grade", "its place comes")
            said.append(f"No anchor has the {what} {names}: {place} from the shares of the grades alone.")
        return [*said, *(f"One group is not graded. {reason}" for reason in found.ungraded)]

    @property
    def islands(self) -> dict[int, int]:
        """The group of each essay, counted from 1; nothing when all are on one scale."""
        if self.diagnostics.islands == 1:
            return {}
        return {one.position: one.island + 1 for one in self.diagnostics.essays}


async def worked_out(
    analyses: Analyses,
    summary: Summary,
    *,
    path: Sequence[Milestone],
    flagged: Sequence[Flagged],
    patience: float,
) -> Quality | None:
    """What an analysis adds, once the scores stand still: while they change, each wave would cost a new one.

    None also when it takes longer than so many seconds, or when there is no verdict.
    """
    batch = summary.batch
    if batch.state is BatchState.RUNNING or not path:
        return None
    if await analyses.soon(batch.id, patience) is None:
        return None
    analysis, graded = await analyses.graded(batch.id)
    looks = needs_a_look(analysis, graded)
    return Quality(
        diagnostics=diagnostics_report(analysis, path, looks),
        grades=grades_report(analysis, graded),
        looks=_looks(analysis.material.names, looks, flagged),
        illustration=bool(summary.judge_kinds) and set(summary.judge_kinds) <= _UNREAL,
    )


def strongest_bias(milestone: Milestone) -> Bias | None:
    """The alarming position term that lies farthest from 0; if none is, the farthest."""
    count = len(milestone.positions)
    found = [
        Bias(judge, count, value, value - TWO_SIDED_95 * se, value + TWO_SIDED_95 * se)
        for judge, (value, se) in enumerate(zip(milestone.positions, milestone.position_errors, strict=True))
    ]
    return max(found, key=lambda bias: (bias.alarming, abs(bias.value)), default=None)


def chances(grades: Sequence[str], essay: GradedEssay) -> str:
    """The likely grades of an essay with their chances, the likeliest first."""
    known = zip(grades, essay.probabilities or (), strict=False)
    order = sorted(known, key=lambda each: -each[1])
    return ", ".join(
        f"{grade} {words.share(chance)}" for grade, chance in order if chance >= _SMALLEST_CHANCE
    )


def _looks(names: Sequence[str], looks: Sequence[NeedsLook], flagged: Sequence[Flagged]) -> list[Look]:
    """The worklist, and behind it what was flagged in verdicts that are in no score yet."""
    found = [Look(one.essay, names[one.essay], tuple(each.words for each in one.concerns)) for one in looks]
    known = {one.position for one in found}
    return found + [
        Look(
            one.position,
            one.essay,
            tuple(f"A judge flagged it: it {words.flag(name)}." for name in one.found),
        )
        for one in flagged
        if one.position not in known
    ]
