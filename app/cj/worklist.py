"""Essays that need a human look, each with its reasons in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.cj.essays import FEW_WORDS
from app.cj.statistics.agreement import Disagreement
from app.cj.statistics.favours import Favours
from app.cj.statistics.fit_statistics import FitStatistics
from app.cj.statistics.grades import Grading, Inversion

CLOSE_CALL = 0.10
"""Two grades whose probabilities differ by less are as good as equally likely."""

WIDE_GAP = 2.0
"""Logits: the better of two essays so far apart wins 88 of 100, so that a judge against it is worth a look."""


class Reason(StrEnum):
    """Why somebody should look; the most pressing first."""

    INSTRUCTION = "possible_instruction"
    FLAGGED = "flagged"
    ANCHOR = "anchor_contradicts"
    SPLIT = "judges_split"
    MISFIT = "misfit"
    BOUNDARY = "straddles_boundary"
    SHORT = "too_short"


_FLAGS = {
    "addresses-judge": "It seems to speak to its judge.",
    "verdict-json": "It contains something like a judge's verdict.",
    "invisible-characters": "It contains characters that people do not see and a model reads.",
    "delimiter-lookalike": "It contains marks like those that separate essays from instructions.",
}
"""What the provider's flags that hint at an instruction to the judge say."""


@dataclass(frozen=True, slots=True)
class Concern:
    """One reason and the sentence that explains it."""

    reason: Reason
    words: str


@dataclass(frozen=True, slots=True)
class NeedsLook:
    """An essay, by its place, with every concern about it, the most pressing first."""

    essay: int
    concerns: tuple[Concern, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about the essays of a batch; what is not known is left out and raises no concern.

    `names` and `words` (their number) by essay. `judges`: the judge configurations as people know them. `flags`: per
    essay, the names of what judges flagged. `grades`: names of the grades, lowest first, for `grading`; `inversions`:
    anchors that contradict each other; `anchors`: essays whose grade was known beforehand.
    """

    names: Sequence[str]
    words: Sequence[int]
    judges: Sequence[str] = ()
    flags: Mapping[int, Sequence[str]] = field(default_factory=dict)
    grading: Grading | None = None
    inversions: Sequence[Inversion] = ()
    grades: Sequence[str] = ()
    anchors: frozenset[int] = frozenset()
    fit: FitStatistics | None = None
    favours: Favours | None = None
    disagreements: Sequence[Disagreement] = ()
    least_words: int = FEW_WORDS


def worklist(evidence: Evidence) -> list[NeedsLook]:
    """The essays that need a human look: those with the most pressing reason first, then those with more reasons."""
    found: dict[int, list[Concern]] = {}
    for look in (_flagged, _favoured, _inverted, _split, _misfitting, _straddling, _short):
        for essay, concern in look(evidence):
            found.setdefault(essay, []).append(concern)
    urgency = {reason: number for number, reason in enumerate(Reason)}
    rows = [
        NeedsLook(essay, tuple(sorted(concerns, key=lambda each: urgency[each.reason])))
        for essay, concerns in found.items()
    ]
    return sorted(rows, key=lambda row: (urgency[row.concerns[0].reason], -len(row.concerns), row.essay))


_Found = Iterator[tuple[int, Concern]]


def _flagged(evidence: Evidence) -> _Found:
    for essay, flags in evidence.flags.items():
        for flag in flags:
            if words := _FLAGS.get(flag):
                yield essay, Concern(Reason.INSTRUCTION, words)
            else:
                yield essay, Concern(Reason.FLAGGED, f"A judge flagged it: {flag}.")


def _favoured(evidence: Evidence) -> _Found:
    if (tests := evidence.favours) is None:
        return
    for row in tests.favoured.tolist():
        yield (
            int(tests.essay[row]),
            Concern(
                Reason.INSTRUCTION,
                f"{_judge(evidence, tests.judge[row])} let it win {_tally(tests, row)}: far more than the other judges'"
                " verdicts lead to expect. It may hold an instruction to the judge.",
            ),
        )


def _inverted(evidence: Evidence) -> _Found:
    for pair in evidence.inversions:
        higher, lower = evidence.names[pair.higher_graded], evidence.names[pair.lower_graded]
        how = f"by {pair.gap:.1f} logits, {pair.z:.1f} standard errors"
        yield (
            pair.higher_graded,
            Concern(Reason.ANCHOR, f"Its known grade is above that of {lower}, its score below ({how})."),
        )
        yield (
            pair.lower_graded,
            Concern(Reason.ANCHOR, f"Its known grade is below that of {higher}, its score above ({how})."),
        )


def _split(evidence: Evidence) -> _Found:
    if (tests := evidence.favours) is not None:
        told = set(tests.favoured.tolist())
        for row in tests.split.tolist():
            if row not in told:
                yield (
                    int(tests.essay[row]),
                    Concern(
                        Reason.SPLIT,
                        f"The judges are split: with {_judge(evidence, tests.judge[row])} it won {_tally(tests, row)},"
                        " by the verdicts of the others.",
                    ),
                )
    for each in evidence.disagreements:
        if each.gap >= WIDE_GAP:
            judges = f"{_judge(evidence, each.for_it)} and {_judge(evidence, each.against_it)}"
            for essay, other in ((each.favourite, each.rival), (each.rival, each.favourite)):
                words = f"{judges} name different winners of it and {evidence.names[other]}, {each.gap:.1f} logits apart."
                yield essay, Concern(Reason.SPLIT, words)


def _misfitting(evidence: Evidence) -> _Found:
    if evidence.fit is None:
        return
    for essay in evidence.fit.misfits.tolist():
        against = round((1.0 - float(evidence.fit.agreement[essay])) * 100)
        words = (
            f"Its verdicts contradict the scale more than chance would: {against} of 100 go against it"
            f" (infit {evidence.fit.infit[essay]:.1f}, 1 is usual)."
        )
        yield essay, Concern(Reason.MISFIT, words)


def _straddling(evidence: Evidence) -> _Found:
    if evidence.grading is None:
        return
    for essay, chances in enumerate(evidence.grading.probabilities.tolist()):
        order = sorted(range(len(chances)), key=lambda grade: -chances[grade])
        best, next_best = order[:2]
        if essay not in evidence.anchors and chances[best] - chances[next_best] < CLOSE_CALL:
            shares = f"{chances[best] * 100:.0f} and {chances[next_best] * 100:.0f} of 100"
            words = f"It straddles a boundary: {evidence.grades[best]} or {evidence.grades[next_best]} ({shares})."
            yield essay, Concern(Reason.BOUNDARY, words)


def _short(evidence: Evidence) -> _Found:
    for essay, words in enumerate(evidence.words):
        if words < evidence.least_words:
            yield essay, Concern(Reason.SHORT, f"It has only {words} words; there is little to judge.")


def _judge(evidence: Evidence, number: int) -> str:
    return evidence.judges[number] if number < len(evidence.judges) else f"judge {number + 1}"


def _tally(tests: Favours, row: int) -> str:
    return f"{tests.wins[row]:g} of {tests.verdicts[row]}, where {tests.expected_wins[row]:.1f} were to be expected"
