"""Who beat whom: the verdicts between every two essays, or between bands of essays of neighbouring ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.cj.material import Material


@dataclass(frozen=True, slots=True)
class Meeting:
    """Of `verdicts` between two the one won `wins`, a tie counting half."""

    wins: float
    verdicts: int


def meetings(material: Material, groups: Sequence[int]) -> dict[tuple[int, int], Meeting]:
    """Meetings between groups, seen from both sides; `groups` is the group of each essay. Audits are left out.

    Within a group every verdict has its winner and its loser inside, so that it would say nothing: it is left out.
    """
    wins: dict[tuple[int, int], float] = {}
    verdicts: dict[tuple[int, int], int] = {}
    scored = material.scored
    rows = zip(scored.first.tolist(), scored.second.tolist(), scored.outcome.tolist(), strict=True)
    for first, second, outcome in rows:
        one, other = groups[first], groups[second]
        if one == other:
            continue
        for pair, won in (((one, other), outcome), ((other, one), 1.0 - outcome)):
            wins[pair] = wins.get(pair, 0.0) + won
            verdicts[pair] = verdicts.get(pair, 0) + 1
    return {pair: Meeting(wins[pair], number) for pair, number in verdicts.items()}


def bands(order: Sequence[int], most: int) -> list[list[int]]:
    """Essays in at most so many groups of neighbouring ranks, of nearly equal size; `order` is the best first."""
    number = min(most, len(order))
    bounds = [round(n * len(order) / number) for n in range(number + 1)] if number else []
    return [list(order[begin:end]) for begin, end in pairwise(bounds)]
