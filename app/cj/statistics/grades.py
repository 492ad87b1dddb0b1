"""Grades for essays from essays whose grade is known (anchors), or the reason why there is only a ranking."""

import math
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.correlation import kendall_tau_b
from app.cj.statistics.grade_line import GradeLine, grade_line
from app.cj.statistics.normal import quantiles

NO_GRADE = -1
"""In `anchors`: this essay is not an anchor."""

_INVERTED = 2.0  # standard errors
_FEWEST_GRADES = 2
_OUTERMOST = 1.5  # sd of the population: beyond, on either side, lies 1 essay in 15


@dataclass(frozen=True, slots=True)
class Inversion:
    """Two anchors whose scores contradict their grades: `lower_graded` scored above `higher_graded`.

    `gap`: by how much, in logits. `z`: the gap in standard errors of the difference.
    """

    higher_graded: int
    lower_graded: int
    gap: float
    z: float


@dataclass(frozen=True, slots=True)
class RankingOnly:
    """These essays can be ranked, not graded; `reason` says why, in words for the people who read the ranking.

    `inversions`: the anchors that contradict each other by more than 2 SE, worst first, as in `Grading`.
    """

    reason: str
    inversions: tuple[Inversion, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Grading:
    """Grades 0..K-1, lowest first, for n essays.

    `probabilities`: shape (n, K), rows sum to 1; NaN where an essay cannot be graded. `lines`: the thresholds of each
    island of essays that was graded, by its number. `ungraded`: why the other islands were not. `anchored`: shape
    (K,), whether any anchor has the grade; the place of other grades comes from the population's shape alone.
    `inversions`: the anchors that contradict each other by more than 2 SE, worst first.
    """

    probabilities: FloatArray
    lines: dict[int, GradeLine]
    ungraded: dict[int, RankingOnly]
    anchored: tuple[bool, ...]
    inversions: tuple[Inversion, ...]

    @property
    def likeliest(self) -> IntArray:
        """The most probable grade of each essay, `NO_GRADE` where there is none; shape (n,)."""
        known = ~np.isnan(self.probabilities[:, 0])
        found = np.where(known, np.nan_to_num(self.probabilities).argmax(axis=1), NO_GRADE)
        return np.asarray(found, dtype=np.int64)


def grade(
    fit: Fit, anchors: IntArray, *, grades: int, shares: FloatArray | None = None
) -> Grading | RankingOnly:
    """Grade every essay that the comparisons connect with at least two anchors of different grades.

    `anchors`: the known grade 0..grades-1 of each essay or `NO_GRADE`, shape (n,). `shares`: how often each grade is
    given in the population the essays come from, shape (grades,), lowest first; without them all
    grades but the outermost are taken to be equally wide. Scores of different
    islands share no zero, so each island has thresholds of its own.

    Raises:
        ValueError: arrays that do not fit each other, or shares that are not positive with sum 1.
        NotConverged: thresholds could not be found.
    """
    _check(fit, anchors, grades, shares)
    cuts = _equal_widths(grades) if shares is None else quantiles(np.cumsum(shares)[:-1])
    probabilities = np.full((len(fit.scores), grades), np.nan)
    lines, ungraded = {}, {}
    for island in np.unique(fit.islands).tolist():
        here = np.flatnonzero(fit.islands == island)
        known = here[anchors[here] != NO_GRADE]
        if reason := _obstacle(fit.scores[known], anchors[known]):
            ungraded[island] = RankingOnly(reason)
            continue
        others = here[anchors[here] == NO_GRADE]
        centre = float(fit.scores[others if others.size else here].mean())
        variances = np.square(fit.standard_errors[known])
        line = grade_line(fit.scores[known], variances, anchors[known], centre + fit.sigma * cuts)
        lines[island] = line
        probabilities[here] = line.probabilities(fit.scores[here], fit.standard_errors[here])
    if not lines:
        return RankingOnly(_whole_reason(anchors[anchors != NO_GRADE], ungraded), inversions(fit, anchors))
    anchored = tuple(bool((anchors == each).any()) for each in range(grades))
    return Grading(probabilities, lines, ungraded, anchored, inversions(fit, anchors))


def inversions(fit: Fit, anchors: IntArray) -> tuple[Inversion, ...]:
    """Pairs of anchors on one island whose order by score contradicts their grades by more than 2 SE.

    z = (score of the lower grade - score of the higher) / sqrt(SE^2 + SE^2). The covariance of the two scores is left
    out: it is positive for essays that met, so z is rather too small.
    """
    known = np.flatnonzero(anchors != NO_GRADE)
    above, below = (known[side] for side in np.nonzero(np.subtract.outer(anchors[known], anchors[known]) > 0))
    together = fit.islands[above] == fit.islands[below]
    above, below = above[together], below[together]
    gaps = fit.scores[below] - fit.scores[above]
    z = gaps / np.maximum(np.hypot(fit.standard_errors[below], fit.standard_errors[above]), 1e-12)
    found = [
        Inversion(int(above[k]), int(below[k]), float(gaps[k]), float(z[k]))
        for k in np.flatnonzero(z > _INVERTED)
    ]
    return tuple(sorted(found, key=lambda each: -each.z))


def _equal_widths(grades: int) -> FloatArray:
    """Thresholds in sd of the population when nobody knows its shares."""
    reach = _OUTERMOST * (1.0 - 2.0 / grades)  # two grades meet in the middle, many reach outwards
    return np.linspace(-reach, reach, grades - 1) if grades > _FEWEST_GRADES else np.zeros(1)


def _too_few(grades: IntArray) -> str | None:
    if not grades.size:
        return "Ranking, not grades: no essay among these has a known grade."
    if len(grades) == 1:
        return "Ranking, not grades: there is one anchor, and at least two of different grades are needed."
    if len(set(grades.tolist())) < _FEWEST_GRADES:
        return "Ranking, not grades: all anchors have the same grade, and at least two different ones are needed."
    return None


def _obstacle(scores: FloatArray, grades: IntArray) -> str | None:
    """What keeps the anchors of one island from carrying grades, if anything."""
    if reason := _too_few(grades):
        return reason
    if not kendall_tau_b(scores, grades.astype(np.float64)) > 0.0:
        return "Ranking, not grades: the scores of the anchors do not rise with their grades."
    return None


def _whole_reason(grades: IntArray, ungraded: dict[int, RankingOnly]) -> str:
    """Why no island is graded, from the grades of all anchors."""
    if len(ungraded) == 1:
        return ungraded[0].reason
    return _too_few(grades) or (
        f"Ranking, not grades: the comparisons leave {len(ungraded)} groups of essays apart, and in none of them do"
        " anchors of different grades carry a scale."
    )


def _check(fit: Fit, anchors: IntArray, grades: int, shares: FloatArray | None) -> None:
    if grades < _FEWEST_GRADES:
        raise ValueError(f"a scale has at least two grades, not {grades}")
    if not math.isfinite(fit.sigma):
        raise ValueError("grades need scores that were fitted with a prior")
    if anchors.shape != fit.scores.shape:
        raise ValueError(f"anchors are given for {len(anchors)} essays, scores for {len(fit.scores)}")
    if not ((anchors >= NO_GRADE) & (anchors < grades)).all():
        raise ValueError(f"grades are numbered 0 to {grades - 1}, and {NO_GRADE} means none")
    if shares is None:
        return
    if (
        shares.shape != (grades,)
        or not (shares > 0.0).all()
        or not math.isclose(shares.sum(), 1.0, abs_tol=1e-6)
    ):
        raise ValueError(f"shares are {grades} positive numbers with sum 1")
