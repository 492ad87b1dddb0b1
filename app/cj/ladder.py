"""The ladder of one essay: every verdict about it, and how likely the scale found what came out."""

from __future__ import annotations

from dataclasses import dataclass

from app.cj.analysis import Analysis
from app.cj.statistics.expected import TIE, expected

SURPRISING = 0.2
"""A verdict to which the scale gave less than one chance in five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One verdict, from the side of the essay: `won` is 1, a tie 0.5.

    `chance` is what the scale gave to this outcome, with the side on which the essay was shown; of a tie there is none.
    """

    sequence: int
    other: int
    won: float
    chance: float | None

    @property
    def surprising(self) -> bool:
        """Whether the scale led to expect something else."""
        return self.chance is not None and self.chance < SURPRISING


def ladder(analysis: Analysis, essay: int) -> list[Rung]:
    """The verdicts inside the scores in which the essay was shown, those with the best opponents first."""
    counted = [one for one in analysis.material.judgements if one.audit_of is None]
    scored, scores = analysis.material.scored, analysis.fit.scores.tolist()
    known = zip(counted, scored.outcome.tolist(), expected(scored, analysis.fit).chance.tolist(), strict=True)
    rungs = []
    for one, outcome, chance in known:
        if essay not in {one.first, one.second}:
            continue
        shown_first = one.first == essay
        rungs.append(
            Rung(
                sequence=one.sequence,
                other=one.second if shown_first else one.first,
                won=outcome if shown_first else 1.0 - outcome,
                chance=None if outcome == TIE else chance if outcome > TIE else 1.0 - chance,
            )
        )
    return sorted(rungs, key=lambda rung: (-scores[rung.other], rung.sequence))
