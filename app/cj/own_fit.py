"""The scale of judgements that people bring, with all that is said about it: the work of the command `fit`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.cj.judgements import Judgements
from app.cj.statistics import IntArray
from app.cj.statistics.bradley_terry import Fit, Verdicts, fit
from app.cj.statistics.graph import islands, unbounded
from app.cj.statistics.reliability import separation_reliability
from app.cj.statistics.split_half import split_by_judges, split_by_verdicts

_TWO_SIDED_95 = 1.959964


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
    """One judge. `position` is None when that term was switched off."""

    name: str
    comparisons: int
    position: float | None
    position_se: float | None
    slope: float
    stated: int
    confidence_used: bool
    confidence_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReliability:
    """Four figures and their methods; None where one is not defined, as for EB without a prior."""

    eb: float | None
    split_half: float | None
    split_by: str
    ssr: float | None
    ssr_observed: float | None

    def lines(self) -> Iterator[tuple[str, str, float | None]]:
        """Name, method and value of each."""
        yield "EB", "empirical Bayes, 1 - mean(SE^2) / (sigma^2 (1 - 1/n)); needs a prior", self.eb
        yield "split-half", f"by {self.split_by}, 2 r / (1 + r)", self.split_half
        yield "SSR", "legacy, (V - MSE) / V; inflated by adaptive pairing", self.ssr
        yield "SSR", "legacy, the other formula in print, V / (V + MSE)", self.ssr_observed


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFit:
    """Everything `fit` says. `sigma` is None without a prior; `items` stand in the order of their rank."""

    items: tuple[OwnItem, ...]
    judges: tuple[OwnJudge, ...]
    judgements: int
    sigma: float | None
    sigma_estimated: bool
    reliability: OwnReliability
    islands: tuple[tuple[str, ...], ...]
    unbounded: tuple[str, ...]

    @property
    def sigma_words(self) -> str:
        """Where the spread comes from."""
        if self.sigma is None:
            return "no prior, maximum likelihood"
        return f"{self.sigma:.4f} logits, {'estimated by empirical Bayes' if self.sigma_estimated else 'as given'}"


def own_fit(judgements: Judgements, *, sigma: float | None, position: bool) -> OwnFit:
    """Fit; `sigma` as for `fit`: None to estimate it, infinite for maximum likelihood."""
    verdicts, count = judgements.verdicts, len(judgements.items)
    endless = np.zeros(count, dtype=np.bool_)
    if sigma == math.inf:
        endless[unbounded(verdicts, count)] = True
    known = _fit(verdicts, endless, sigma=sigma, position=position)
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
    )
