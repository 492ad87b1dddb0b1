"""The scale of judgements that people bring, with all that is said about it: the work of the command `fit`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from app.cj.judgements import Judgements
from app.cj.statistics import FloatArray, IntArray, Mask
from app.cj.statistics.bradley_terry import Fit, Unbounded, Verdicts, fit
from app.cj.statistics.confidence import unread
from app.cj.statistics.graph import islands, unbounded
from app.cj.statistics.normal import TWO_SIDED_95
from app.cj.statistics.reliability import SeparationReliability, separation_reliability
from app.cj.statistics.split_half import split_by_judges, split_by_verdicts
from app.contracts.wire import figure

_TIE = 0.5
_NO_POSITION = (
    "without a prior the preference for whoever is shown first has no finite estimate here; "
    "it was left out, as with --position-term off"
)
_ALIKE = "how sharp each judge is could not be told from these judgements: all of them count alike"
_ONE_SIDED = (
    "item_{side} won {won} of {decided} judgements that are no ties, and the position term takes that for a preference "
    "for whoever was shown first or second; if your file names winners first (or last), and not whoever was shown first, "
    "its scores are of no use: say --position-term off"
)
_FAR = (
    "a preference of {position:+.1f} logits for the item shown first is more than judges have; if item_a is not whoever "
    "was shown first in your file, its scores are of no use: say --position-term off"
)
_ONE_SIDE, _FEWEST_DECIDED = 0.95, 20
_FAR_POSITION = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnItem:
    """One item. Its rank and score are within its island (from 0), and None where no finite estimate exists."""

    id: str
    rank: int | None
    score: float | None
    se: float | None
    low: float | None
    high: float | None
    comparisons: int
    island: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnJudge:
    """One judge. `position` is None when that term was switched off, all is None when no verdict of theirs counts."""

    name: str
    comparisons: int
    position: float | None
    position_se: float | None
    slope: float | None
    stated: int
    confidence_used: bool
    confidence_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReliability:
    """Four figures and their methods; None where one is not defined, as for EB without a prior.

    `eb_sigma`: the sigma, with its standard errors, that EB rests on, where it is not that of the scores.
    """

    eb: float | None
    eb_sigma: float | None
    split_half: float | None
    split_by: str
    ssr: float | None
    ssr_observed: float | None

    def lines(self) -> Iterator[tuple[str, str, float | None]]:
        """Name, method and value of each."""
        where = "" if self.eb_sigma is None else f", where the verdicts alone show sigma {self.eb_sigma:.4g}"
        yield "EB", f"empirical Bayes, 1 - mean(SE^2) / (sigma^2 (1 - 1/n)){where}; needs a prior", self.eb
        yield "split-half", f"by {self.split_by}, 2 r / (1 + r)", self.split_half
        yield "SSR", "legacy, (V - MSE) / V; inflated by adaptive pairing", self.ssr
        yield "SSR", "legacy, the other formula in print, V / (V + MSE)", self.ssr_observed


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFit:
    """Everything `fit` says. `sigma` is None without a prior; `items` stand in the order of their rank.

    `warnings` say why the scores may mean nothing, `notes` what was done otherwise than asked.
    """

    items: tuple[OwnItem, ...]
    judges: tuple[OwnJudge, ...]
    judgements: int
    sigma: float | None
    sigma_estimated: bool
    reliability: OwnReliability
    islands: tuple[tuple[str, ...], ...]
    unbounded: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def sigma_words(self) -> str:
        """Where the spread comes from."""
        if self.sigma is None:
            return "no prior, maximum likelihood"
        return f"{self.sigma:.4f} logits, {'estimated by empirical Bayes' if self.sigma_estimated else 'as given'}"


def own_fit(judgements: Judgements, *, sigma: float | None, position: bool, recorded: bool = False) -> OwnFit:
    """Fit; `sigma` as for `fit`: None to estimate it, infinite for maximum likelihood.

    `recorded`: who was shown first is known and not only supposed of the order in a file.
    Where maximum likelihood finds no end for a position term, the term is left out and a note says so.
    """
    verdicts, count = judgements.verdicts, len(judgements.items)
    endless = _endless(verdicts, count) if sigma == math.inf else np.zeros(count, dtype=np.bool_)
    notes = []
    try:
        known = _fit(judgements, endless, sigma=sigma, position=position)
    except Unbounded:
        notes.append(_NO_POSITION)
        position = False
        known = _fit(judgements, endless, sigma=sigma, position=False)
    if verdicts.judges > 1 and not endless.all() and (known.slopes[~np.isnan(known.slopes)] == 1.0).all():
        notes.append(_ALIKE)
    doubtful = position and not recorded and not endless.all()
    land = islands(verdicts, count)
    return OwnFit(
        items=_items(judgements, known, land, endless),
        judges=tuple(_judges(judgements, known, position=position)),
        judgements=len(verdicts),
        sigma=known.sigma if math.isfinite(known.sigma) else None,
        sigma_estimated=sigma is None,
        reliability=_reliability(verdicts, known, endless),
        islands=tuple(
            tuple(judgements.items[n] for n in np.flatnonzero(land == number))
            for number in range(land.max() + 1)
        ),
        unbounded=tuple(judgements.items[n] for n in np.flatnonzero(endless)),
        warnings=tuple(_doubts(verdicts, known)) if doubtful else (),
        notes=tuple(notes),
    )


def _doubts(verdicts: Verdicts, known: Fit) -> Iterator[str]:
    """Whether the file looks as if it named winners first: ties, which have no winner, say nothing of that."""
    decided = int((verdicts.outcome != _TIE).sum())
    first = int((verdicts.outcome > _TIE).sum())
    won = max(first, decided - first)
    positions = known.position_means[np.isfinite(known.position_means)]
    farthest = float(positions[np.abs(positions).argmax()]) if positions.size else 0.0
    if decided and (won == decided or (decided >= _FEWEST_DECIDED and won >= _ONE_SIDE * decided)):
        yield _ONE_SIDED.format(side="a" if won == first else "b", won=won, decided=decided)
    elif abs(farthest) > _FAR_POSITION:
        yield _FAR.format(position=farthest)


def _endless(verdicts: Verdicts, items: int) -> Mask:
    """Who has no finite score without a prior; also whoever would be left alone on an island without the others."""
    endless = np.zeros(items, dtype=np.bool_)
    endless[unbounded(verdicts, items)] = True
    kept = verdicts.where(~endless[verdicts.first] & ~endless[verdicts.second])
    endless[kept.count(items) == 0] = True
    return endless


def _fit(judgements: Judgements, endless: Mask, *, sigma: float | None, position: bool) -> Fit:
    """Fit the items that have finite scores and the judges who judged them; all others get NaN."""
    verdicts, judges = judgements.verdicts, len(judgements.judges)
    kept = verdicts.among(np.flatnonzero(~endless))
    present = np.unique(kept.judge)
    counted = replace(kept, judge=np.searchsorted(present, kept.judge))
    if endless.all():  # an empty fit, for its form alone: it says nothing of anybody
        known = replace(fit(counted, 1, sigma=1.0), sigma=math.inf, reliability=math.nan)
    else:
        known = fit(counted, int((~endless).sum()), sigma=sigma, position=position)
    return replace(
        known,
        scores=_spread_out(known.scores, ~endless),
        standard_errors=_spread_out(known.standard_errors, ~endless),
        positions=_spread_out(known.positions, np.isin(np.arange(judges), present)),
        position_means=_spread_out(known.position_means, np.isin(np.arange(judges), present)),
        position_errors=_spread_out(known.position_errors, np.isin(np.arange(judges), present)),
        slopes=_spread_out(known.slopes, np.isin(np.arange(judges), present)),
        levels=tuple(
            known.levels[int(np.searchsorted(present, judge))]
            if judge in present
            else unread("no verdict of this judge counts", verdicts=0)
            for judge in range(judges)
        ),
    )


def _spread_out(values: FloatArray, kept: Mask) -> FloatArray:
    """Values back in their places, NaN elsewhere."""
    found = np.full(len(kept), np.nan)
    found[kept] = values[: int(kept.sum())]
    return found


def _items(judgements: Judgements, known: Fit, land: IntArray, endless: Mask) -> tuple[OwnItem, ...]:
    """Items in order: island by island, in each the best first, those without an estimate last."""
    count = judgements.verdicts.count(len(judgements.items))
    order = sorted(
        range(len(judgements.items)),
        key=lambda n: (land[n], endless[n], -known.scores[n] if not endless[n] else 0.0, n),
    )
    found: list[OwnItem] = []
    place, rank, last = 0, 0, -1
    for n in order:
        place = place + 1 if land[n] == last else 1
        if place == 1 or known.scores[n] != found[-1].score:  # equal scores share a rank
            rank = place
        last = int(land[n])
        score, se = (None, None) if endless[n] else (float(known.scores[n]), float(known.standard_errors[n]))
        margin = None if se is None else TWO_SIDED_95 * se
        found.append(
            OwnItem(
                id=judgements.items[n],
                rank=None if score is None else rank,
                score=score,
                se=se,
                low=None if score is None or margin is None else score - margin,
                high=None if score is None or margin is None else score + margin,
                comparisons=int(count[n]),
                island=last,
            )
        )
    return tuple(found)


def _judges(judgements: Judgements, known: Fit, *, position: bool) -> Iterator[OwnJudge]:
    verdicts = judgements.verdicts
    for number, name in enumerate(judgements.judges):
        mine = verdicts.judge == number
        levels = known.levels[number]
        yield OwnJudge(
            name=name,
            comparisons=int(mine.sum()),
            position=figure(known.position_means[number]) if position else None,
            position_se=figure(known.position_errors[number]) if position else None,
            slope=figure(known.slopes[number]),
            stated=int((~np.isnan(verdicts.confidence[mine])).sum()),
            confidence_used=levels.used,
            confidence_reason=levels.reason,
        )


def _reliability(verdicts: Verdicts, known: Fit, endless: Mask) -> OwnReliability:
    """Split-half and EB need a prior: without one a half may have no finite scores, and no spread is supposed."""
    separation = separation_reliability(known.scores[~endless], known.standard_errors[~endless])
    if endless.all():
        separation = SeparationReliability(math.nan, math.nan)
    by_judges = verdicts.judges > 1
    half = math.nan
    if math.isfinite(known.sigma):
        half = (split_by_judges if by_judges else split_by_verdicts)(verdicts, known).reliability
    return OwnReliability(
        eb=figure(known.reliability),
        eb_sigma=figure(known.reliability_sigma) if known.reliability_sigma != known.sigma else None,
        split_half=figure(half),
        split_by="judges" if by_judges else "random halves of the judgements",
        ssr=figure(separation.of_true_spread),
        ssr_observed=figure(separation.of_observed_spread),
    )
