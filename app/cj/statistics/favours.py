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

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.bradley_terry import Fit
from app.cj.statistics.verdicts import Verdicts

LEVEL = 0.05
"""Of the family of all tests."""

_NODES = 15
_NEWTON_STEPS = 50
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
    rows = [row for judge in range(len(fit.positions)) for row in _with_judge(judge, seen, items, fit.sigma)]
    rows.sort(key=lambda row: row[:2])
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 8)
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


def _with_judge(judge: int, seen: _View, items: int, sigma: float) -> list[tuple[float, ...]]:
    """A row for each essay that this judge and others saw."""
    mine = np.flatnonzero(seen.judge == judge)
    mine = mine[np.argsort(seen.essay[mine], kind="stable")]
    others = seen.only(np.flatnonzero(seen.judge != judge))
    score, variance = _scores_of(others, items, sigma)
    known = np.bincount(others.essay, minlength=items) > 0
    essays, starts = np.unique(seen.essay[mine], return_index=True)
    return [
        (float(essay), float(judge), *_tail(seen.only(rows), float(score[essay]), float(variance[essay])))
        for essay, rows in zip(essays.tolist(), np.split(mine, starts)[1:], strict=True)
        if known[essay]
    ]


def _scores_of(view: _View, items: int, sigma: float) -> tuple[FloatArray, FloatArray]:
    """Mode and Laplace variance of each essay's score alone, prior N(0, sigma^2), all other scores held."""
    score, precision = np.zeros(items), min(sigma, _WIDEST_SIGMA) ** -2
    for _ in range(_NEWTON_STEPS):
        chance = _logistic(view.slope * score[view.essay] + view.rest)
        gradient = np.bincount(view.essay, view.slope * (view.won - chance), items) - precision * score
        curvature = np.bincount(view.essay, view.slope**2 * chance * (1.0 - chance), items) + precision
        step = np.clip(gradient / curvature, -_LONGEST_STEP, _LONGEST_STEP)
        score = score + step
        if float(np.abs(step).max(initial=0.0)) <= _SETTLED:
            break
    return score, np.asarray(1.0 / curvature, dtype=np.float64)


def _tail(view: _View, score: float, variance: float) -> tuple[float, ...]:
    """Verdicts, wins, expected wins, z, and the chances of as many wins or more, and as many or fewer."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(_NODES)
    shares = shares / shares.sum()
    theta = score + np.sqrt(variance) * nodes
    chance = _logistic(np.outer(theta, view.slope) + view.rest)  # (nodes, verdicts)
    wins = float(view.won.sum())
    expected = float(shares @ chance.sum(axis=1))
    spread = float(shares @ ((chance * (1.0 - chance)).sum(axis=1) + (chance.sum(axis=1) - expected) ** 2))
    ways = shares @ _sum_of_coins(chance)
    # ties leave halves between whole numbers of wins; rounding away from the extreme keeps the test honest
    more, less = float(ways[int(np.floor(wins)) :].sum()), float(ways[: int(np.ceil(wins)) + 1].sum())
    z = (wins - expected) / max(np.sqrt(spread), 1e-12)
    return float(len(view.won)), wins, expected, float(z), min(more, 1.0), min(less, 1.0)


def _sum_of_coins(chance: FloatArray) -> FloatArray:
    """Distribution of the number of heads of independent coins, one row per row of `chance`, (nodes, c + 1)."""
    ways = np.zeros((len(chance), chance.shape[1] + 1))
    ways[:, 0] = 1.0
    for coin in chance.T[:, :, None]:
        ways[:, 1:] = ways[:, 1:] * (1.0 - coin) + ways[:, :-1] * coin
        ways[:, :1] *= 1.0 - coin
    return ways


def _logistic(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(x / 2.0)), dtype=np.float64)
