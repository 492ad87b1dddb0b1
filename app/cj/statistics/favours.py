"""Does a judge favour or disfavour single essays, as one does who obeys an instruction hidden in the text?

For essay i and judge j the score of i is fitted again from the verdicts of the other judges alone, all other scores
held: theta ~ N(t, v). Under the null the number of wins of i with j is a sum of independent coins with chances
p_k = logistic(slope (theta - theta_k) +- position), mixed over that normal (Gauss-Hermite). The tail of that exact
distribution is the p-value. n * J essays and judges are tested at once, so p-values are adjusted by Holm (1979), which
bounds the chance of even one false accusation by the level. With a single judge nothing can be said: an essay that
always wins is then simply the best. With two, one of them is off, and nobody can tell which.
"""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, IntArray, NotConverged
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.coins import heads
from app.cj.statistics.normal import logistic
from app.cj.statistics.verdicts import Verdicts

LEVEL = 0.05
"""Of the family of all tests."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_SHARES = _WEIGHTS / _WEIGHTS.sum()
_AT_ONCE = 1000  # essays: 15 nodes of 20 verdicts each are 2 MB
_NEWTON_STEPS = 200
_LONGEST_STEP = 2.0
_SETTLED = 1e-9
_WIDEST_SIGMA = 1e3  # stands for "no prior", so that an undefeated essay stays finite


@dataclass(frozen=True, slots=True, eq=False)
class Favours:
    """One row per essay and judge that met, if other judges saw the essay too; shape (k,), essays ascending.

    `wins`: of `verdicts` with this judge, a tie counting half. `expected_wins`: by the score that the other judges
    give. `z`: their difference in predictive standard deviations. `p_more`, `p_less`: chance of at least, at most as
    many wins. `adjusted_more`: Holm's p-value of `p_more`; `adjusted`: that of the two-sided test.
    """

    essay: IntArray
    judge: IntArray
    verdicts: IntArray
    wins: FloatArray
    expected_wins: FloatArray
    z: FloatArray
    p_more: FloatArray
    p_less: FloatArray
    adjusted_more: FloatArray
    adjusted: FloatArray

    @property
    def favoured(self) -> IntArray:
        """Rows where a judge lets the essay win more than chance allows: a hidden instruction is possible."""
        return np.flatnonzero(self.adjusted_more <= LEVEL).astype(np.int64)

    @property
    def split(self) -> IntArray:
        """Rows where a judge and the others disagree about the essay in either direction."""
        return np.flatnonzero(self.adjusted <= LEVEL).astype(np.int64)


def favours(verdicts: Verdicts, fit: Fit) -> Favours:
    """Test every essay with every judge that saw it, against the judges that are left."""
    items = len(fit.scores)
    seen = _View.from_both_ends(verdicts, fit)
    table = np.concatenate(
        [_with_judge(judge, seen, items, fit.sigma) for judge in range(len(fit.positions))]
    )
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    more, less = table[:, 6], table[:, 7]
    return Favours(
        essay=table[:, 0].astype(np.int64),
        judge=table[:, 1].astype(np.int64),
        verdicts=table[:, 2].astype(np.int64),
        wins=table[:, 3],
        expected_wins=table[:, 4],
        z=table[:, 5],
        p_more=more,
        p_less=less,
        adjusted_more=holm(more),
        adjusted=holm(np.minimum(1.0, 2.0 * np.minimum(more, less))),
    )


def holm(p_values: FloatArray) -> FloatArray:
    """Step-down adjusted p-values, shape kept: max over smaller ones of (m - rank) p (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Every verdict seen from both its essays, shape (2m,): logit of a win = slope * theta_essay + rest."""

    essay: IntArray
    judge: IntArray
    won: FloatArray
    slope: FloatArray
    rest: FloatArray

    @classmethod
    def from_both_ends(cls, verdicts: Verdicts, fit: Fit) -> "_View":
        slope, position = fit.slopes[verdicts.judge], fit.positions[verdicts.judge]
        return cls(
            essay=np.concatenate((verdicts.first, verdicts.second)),
            judge=np.tile(verdicts.judge, 2),
            won=np.concatenate((verdicts.outcome, 1.0 - verdicts.outcome)),
            slope=np.tile(slope, 2),
            rest=np.concatenate(
                (
                    position - slope * fit.scores[verdicts.second],
                    -position - slope * fit.scores[verdicts.first],
                )
            ),
        )

    def only(self, rows: IntArray) -> "_View":
        return _View(self.essay[rows], self.judge[rows], self.won[rows], self.slope[rows], self.rest[rows])


def _with_judge(judge: int, seen: _View, items: int, sigma: float) -> FloatArray:
    """A row for each essay that this judge and others saw, shape (k, 8)."""
    others = seen.only(np.flatnonzero(seen.judge != judge))
    known = np.bincount(others.essay, minlength=items) > 0
    mine = np.flatnonzero((seen.judge == judge) & known[seen.essay])
    mine = mine[np.argsort(seen.essay[mine], kind="stable")]
    score, variance = _scores_of(others, items, sigma)
    essays, starts, counts = np.unique(seen.essay[mine], return_index=True, return_counts=True)
    table = np.empty((len(essays), 8))
    table[:, 0], table[:, 1] = essays, judge
    for count in np.unique(counts).tolist():  # essays with equally many verdicts are worked out together
        alike = np.flatnonzero(counts == count)
        for some in np.array_split(alike, -(-len(alike) // _AT_ONCE)):
            verdicts = seen.only(mine[starts[some][:, None] + np.arange(count)])
            table[some, 2:] = _tails(verdicts, score[essays[some]], variance[essays[some]])
    return table


def _scores_of(view: _View, items: int, sigma: float) -> tuple[FloatArray, FloatArray]:
    """Mode and Laplace variance of each essay's score alone, prior N(0, sigma^2), all other scores held.

    Newton's method; where it jumps over the mode, the longest step is halved: among sharp judges it would go to and
    fro for ever.

    Raises:
        NotConverged: a score still moves after many steps.
    """
    score, precision = np.zeros(items), min(sigma, _WIDEST_SIGMA) ** -2
    reach, before = np.full(items, _LONGEST_STEP), np.zeros(items)
    for _ in range(_NEWTON_STEPS):
        chance = logistic(view.slope * score[view.essay] + view.rest)
        gradient = np.bincount(view.essay, view.slope * (view.won - chance), items) - precision * score
        curvature = np.bincount(view.essay, view.slope**2 * chance * (1.0 - chance), items) + precision
        reach = np.where(before * gradient < 0.0, reach / 2.0, reach)
        before = np.sign(gradient)
        step = np.clip(gradient / curvature, -reach, reach)
        score = score + step
        if float(np.abs(step).max(initial=0.0)) <= _SETTLED:
            return score, np.asarray(1.0 / curvature, dtype=np.float64)
    raise NotConverged(f"the score of an essay by the other judges still moved after {_NEWTON_STEPS} steps")


def _tails(view: _View, score: FloatArray, variance: FloatArray) -> FloatArray:
    """For k essays with c verdicts each: verdicts, wins, expected wins, z, chance of as many or more, and as many or fewer.

    `view` holds arrays of shape (k, c), `score` and `variance` are of shape (k,).
    """
    theta = score[:, None] + np.sqrt(variance)[:, None] * _NODES
    chance = logistic(theta[:, :, None] * view.slope[:, None, :] + view.rest[:, None, :])  # (k, nodes, c)
    wins, likely = view.won.sum(axis=1), chance.sum(axis=2)
    expected = likely @ _SHARES
    spread = ((chance * (1.0 - chance)).sum(axis=2) + (likely - expected[:, None]) ** 2) @ _SHARES
    ways = np.einsum("n,kns->ks", _SHARES, heads(chance))
    # ties leave halves between whole numbers of wins; rounding away from the extreme keeps the test honest
    sums = np.arange(ways.shape[1])
    more = (ways * (sums >= np.floor(wins)[:, None])).sum(axis=1)
    less = (ways * (sums <= np.ceil(wins)[:, None])).sum(axis=1)
    z = (wins - expected) / np.sqrt(np.maximum(spread, 1e-24))
    count = np.full(len(wins), view.won.shape[1])
    return np.column_stack((count, wins, expected, z, np.minimum(more, 1.0), np.minimum(less, 1.0)))
