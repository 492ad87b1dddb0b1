"""What cj answers about judges, essays and grades: figures of an analysis with names, null where there is no figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import TypeAdapter

from app.cj.analysis import Analysis, Graded
from app.cj.statistics.grades import Grading
from app.cj.statistics.graph import island_count
from app.cj.statistics.split_half import SplitHalf
from app.cj.store import Milestone
from app.cj.worklist import NeedsLook
from app.contracts.wire import figure

Figure = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with the bounds that hold it with 95 % probability."""

    value: Figure
    low: Figure
    high: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReport:
    """One judge configuration. `position` in logits: above 0 it favours whoever is shown first.

    `first_wins` is how often the first did win. `agreement` is how often it agrees with the scale, to be held against
    `expected_agreement`. `infit` and `outfit`: 1 is usual, above it contradicts the scale more. `slope`: how sharply it
    judges, beside the other judges. `consistency`: in how many of `audits` it named the same winner with the sides
    swapped, beside `expected_consistency`, if its errors came anew each time. `confidence_used`: whether its stated
    confidence counts, and `confidence_reason` why.
    """

    judge: int
    name: str
    verdicts: int
    position: Interval
    position_alarming: bool
    first_wins: Figure
    slope: Figure
    agreement: Figure
    expected_agreement: Figure
    infit: Figure
    outfit: Figure
    misfitting: bool
    audits: int
    consistency: Interval
    expected_consistency: Figure
    consistency_alarming: bool
    confidence_used: bool
    confidence_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementReport:
    """How often two judges name the same winner, over `pairs` that both judged; `expected` by the scale."""

    one: str
    other: str
    pairs: int
    share: Interval
    expected: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class DisagreementReport:
    """Two judges named different winners of a pair whose scores are `gap` logits apart."""

    favourite: str
    rival: str
    for_it: str
    against_it: str
    gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgesReport:
    """The judges of a batch as its scores up to `fitted_wave` see them; `disagreements` the widest gap first."""

    batch_id: UUID
    fitted_wave: int
    judges: Sequence[JudgeReport]
    agreements: Sequence[AgreementReport]
    disagreements: Sequence[DisagreementReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class HalvesReport:
    """Two halves of the verdicts fitted apart: `reliability` of all of them, stepped up from `correlation`."""

    reliability: Figure
    correlation: Figure
    splits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityReport:
    """`empirical_bayes` is the figure that stops a batch. SSR is a legacy figure in the two formulas in print."""

    empirical_bayes: Figure
    split_half_by_verdicts: HalvesReport
    split_half_by_judges: HalvesReport
    ssr_of_true_spread: Figure
    ssr_of_observed_spread: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class EssayReport:
    """How well the verdicts on an essay fit its score; scores of different islands may not be compared."""

    position: int
    essay: str
    comparisons: int
    infit: Figure
    outfit: Figure
    misfit_z: Figure
    agreement: Figure
    island: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TriadsReport:
    """Of `triads`, three essays all compared, `circular` contradict themselves; `by_chance` a coin would."""

    triads: int
    circular: int
    expected: Figure
    by_chance: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcernReport:
    """One reason to look at an essay, and the sentence that explains it."""

    reason: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookReport:
    """An essay that a person should look at."""

    position: int
    essay: str
    concerns: Sequence[ConcernReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticsReport:
    """How far the scores of a batch can be trusted, and what a person should look at."""

    batch_id: UUID
    fitted_wave: int
    verdicts: int
    sigma: Figure
    islands: int
    reliability: ReliabilityReport
    path: Sequence[Milestone]
    essays: Sequence[EssayReport]
    triads: TriadsReport
    needs_a_human_look: Sequence[LookReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedEssay:
    """The probability of each grade, lowest first, and the likeliest one; null where the essay has none."""

    position: int
    essay: str
    level: str | None
    grade: str | None
    probabilities: Sequence[float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InversionReport:
    """Two anchors whose scores contradict their grades by `gap` logits, `z` standard errors."""

    higher_grade: str
    lower_grade: str
    gap: float
    z: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GradesReport:
    """Grades on `scale`, or in `reason` why this is a ranking and not grades.

    `boundaries`, in logits, lie between neighbouring `grades`; null when essays on several islands have several.
    `severity`, with its SE: how many logits higher they lie than the shares of the grades alone would put them, which
    is how much more strictly the anchors were graded. `unanchored`: grades that no anchor has, placed by those shares.
    `ungraded`: why essays of some islands have no grade.
    """

    batch_id: UUID
    fitted_wave: int
    scale: str | None
    grades: Sequence[str]
    reason: str | None
    boundaries: Sequence[float] | None
    severity: Figure
    severity_se: Figure
    unanchored: Sequence[str]
    ungraded: Sequence[str]
    essays: Sequence[GradedEssay]
    inversions: Sequence[InversionReport]


def judges_report(analysis: Analysis, *, most: int = 100) -> JudgesReport:
    """Every judge that judged; of the disagreements at most `most`."""
    batch, names = analysis.material.batch, analysis.material.judges
    essays, fitted, table = analysis.material.names, analysis.fit, analysis.quality.judges
    misfits = set(table.misfits.tolist())
    judges = [
        JudgeReport(
            judge=bias.judge,
            name=names[bias.judge],
            verdicts=bias.verdicts,
            position=_interval(bias.estimate, bias.low, bias.high),
            position_alarming=bias.alarming,
            first_wins=figure(bias.first_wins),
            slope=figure(fitted.slopes[bias.judge]),
            agreement=figure(table.agreement[bias.judge]),
            expected_agreement=figure(table.expected_agreement[bias.judge]),
            infit=figure(table.infit[bias.judge]),
            outfit=figure(table.outfit[bias.judge]),
            misfitting=bias.judge in misfits,
            audits=swap.audits,
            consistency=_interval(swap.share, swap.low, swap.high),
            expected_consistency=figure(swap.expected),
            consistency_alarming=swap.alarming,
            confidence_used=levels.used,
            confidence_reason=levels.reason,
        )
        for bias, swap, levels in zip(
            analysis.quality.positions, analysis.quality.swaps, fitted.levels, strict=True
        )
    ]
    return JudgesReport(
        batch_id=batch.id,
        fitted_wave=batch.fitted_wave,
        judges=judges,
        agreements=[
            AgreementReport(
                one=names[each.one],
                other=names[each.other],
                pairs=each.pairs,
                share=_interval(each.share, each.low, each.high),
                expected=figure(each.expected),
            )
            for each in analysis.quality.agreements
        ],
        disagreements=[
            DisagreementReport(
                favourite=essays[each.favourite],
                rival=essays[each.rival],
                for_it=names[each.for_it],
                against_it=names[each.against_it],
                gap=each.gap,
            )
            for each in analysis.quality.disagreements[:most]
        ],
    )


def diagnostics_report(
    analysis: Analysis, path: Sequence[Milestone], looks: Sequence[NeedsLook]
) -> DiagnosticsReport:
    """The whole picture but for judges and grades."""
    batch, names, table = analysis.material.batch, analysis.material.names, analysis.quality.essays
    return DiagnosticsReport(
        batch_id=batch.id,
        fitted_wave=batch.fitted_wave,
        verdicts=len(analysis.material.scored),
        sigma=figure(analysis.fit.sigma),
        islands=island_count(analysis.fit.islands),
        reliability=ReliabilityReport(
            empirical_bayes=figure(analysis.fit.reliability),
            split_half_by_verdicts=_halves(analysis.halves_of_verdicts),
            split_half_by_judges=_halves(analysis.halves_of_judges),
            ssr_of_true_spread=figure(analysis.separation.of_true_spread),
            ssr_of_observed_spread=figure(analysis.separation.of_observed_spread),
        ),
        path=path,
        essays=[
            EssayReport(
                position=n,
                essay=name,
                comparisons=int(table.verdicts[n]),
                infit=figure(table.infit[n]),
                outfit=figure(table.outfit[n]),
                misfit_z=figure(table.infit_z[n]),
                agreement=figure(table.agreement[n]),
                island=int(analysis.fit.islands[n]),
            )
            for n, name in enumerate(names)
        ],
        triads=TriadsReport(
            triads=analysis.quality.triads.triads,
            circular=analysis.quality.triads.circular,
            expected=figure(analysis.quality.triads.expected),
            by_chance=figure(analysis.quality.triads.by_chance),
        ),
        needs_a_human_look=[
            LookReport(
                position=look.essay,
                essay=names[look.essay],
                concerns=[ConcernReport(reason=c.reason.value, words=c.words) for c in look.concerns],
            )
            for look in looks
        ],
    )


def grades_report(analysis: Analysis, graded: Graded) -> GradesReport:
    """Every essay with its grades, or the reason why there are none."""
    material, grading, scale = analysis.material, graded.grading, graded.grades
    lines = list(grading.lines.values()) if grading else []
    only = lines[0] if len(lines) == 1 else None
    return GradesReport(
        batch_id=material.batch.id,
        fitted_wave=material.batch.fitted_wave,
        scale=graded.name,
        grades=scale,
        reason=graded.reason,
        boundaries=only.thresholds.tolist() if only else None,
        severity=figure(only.severity) if only else None,
        severity_se=figure(only.severity_error) if only else None,
        unanchored=[grade for grade, known in zip(scale, grading.anchored, strict=True) if not known]
        if grading
        else [],
        ungraded=[only.reason for only in grading.ungraded.values()] if grading else [],
        essays=[
            GradedEssay(
                position=n,
                essay=name,
                level=level,
                grade=grade,
                probabilities=_chances(grading, n),
            )
            for n, (name, level, grade) in enumerate(
                zip(material.names, material.levels, graded.likeliest(len(material.names)), strict=True)
            )
        ],
        inversions=[
            InversionReport(
                higher_grade=material.names[each.higher_graded],
                lower_grade=material.names[each.lower_graded],
                gap=each.gap,
                z=each.z,
            )
            for each in graded.found.inversions
        ],
    )


def _chances(grading: Grading | None, essay: int) -> list[float] | None:
    if grading is None or math.isnan(grading.probabilities[essay, 0]):
        return None
    return [float(chance) for chance in grading.probabilities[essay]]


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=figure(value), low=figure(low), high=figure(high))


def _halves(found: SplitHalf) -> HalvesReport:
    return HalvesReport(
        reliability=figure(found.reliability), correlation=figure(found.correlation), splits=found.splits
    )


JUDGES = TypeAdapter(JudgesReport)
DIAGNOSTICS = TypeAdapter(DiagnosticsReport)
GRADES = TypeAdapter(GradesReport)
