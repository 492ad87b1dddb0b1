"""Every signal of quality of one fit."""

from dataclasses import dataclass

from app.cj.statistics.agreement import Agreement, Disagreement, agreements, disagreements
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.favours import Favours, favours
from app.cj.statistics.fit_statistics import FitStatistics, essay_fit, judge_fit
from app.cj.statistics.sides import PositionBias, SwapConsistency, position_biases, swap_consistencies
from app.cj.statistics.triads import Triads, triads
from app.cj.statistics.verdicts import Verdicts


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """The signals of one fit: per essay, per judge, per two judges, and of the whole."""

    essays: FitStatistics
    judges: FitStatistics
    positions: list[PositionBias]
    swaps: list[SwapConsistency]
    agreements: list[Agreement]
    disagreements: list[Disagreement]
    triads: Triads
    favours: Favours


def quality(verdicts: Verdicts, fit: Fit, *, with_audits: Verdicts | None = None) -> Quality:
    """Compute every signal; `fit` is the fit of these verdicts.

    `with_audits` are the verdicts and those asked again with the sides swapped, which count in no score: only swap
    consistency reads them, all else reads `verdicts`. Left out, the audits are among `verdicts`.
    """
    return Quality(
        essays=essay_fit(verdicts, fit),
        judges=judge_fit(verdicts, fit),
        positions=position_biases(verdicts, fit),
        swaps=swap_consistencies(verdicts if with_audits is None else with_audits, fit),
        agreements=agreements(verdicts, fit),
        disagreements=disagreements(verdicts, fit),
        triads=triads(verdicts, fit),
        favours=favours(verdicts, fit),
    )
