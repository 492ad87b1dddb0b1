"""How far estimators stay below the highest likelihood, and whether names and sides matter to them."""

from __future__ import annotations

import math
import warnings

import choix
import evalica
import numpy as np

from app.cj.statistics import FloatArray
from app.cj.statistics.bradley_terry import Verdicts, fit
from benchmarks.statistics.bar import Bar
from benchmarks.statistics.graphs import as_pairs, log_likelihood, neighbour_graph, random_graph

ITEMS = 200
SEED = 7


def run() -> list[Bar]:
    """The gap to an exact optimiser on two graphs; relabelling and reversing to the last bit."""
    bars: list[Bar] = []
    graphs = {
        "random": random_graph(ITEMS, per_item=20, seed=SEED),
        "neighbours only": neighbour_graph(ITEMS, seed=SEED),
    }
    for name, verdicts in graphs.items():
        best = log_likelihood(_exact(verdicts), verdicts)
        bars.append(Bar(f"{name}: gap of ours", best - log_likelihood(_ours(verdicts), verdicts), most=1e-8))
        for peer, scores in _peers(verdicts).items():
            gap = math.inf if scores is None else best - log_likelihood(scores, verdicts)
            bars.append(Bar(f"{name}: gap of {peer}", gap))
    bars += _symmetries(graphs["random"])
    return bars


def _ours(verdicts: Verdicts) -> FloatArray:
    return fit(verdicts, ITEMS, sigma=math.inf, position=False).scores


def _exact(verdicts: Verdicts) -> FloatArray:
    """Dense Newton until the gradient is rounding; the first item is fixed, so that the Hessian is regular."""
    theta = np.zeros(ITEMS)
    for _ in range(200):
        chance = 1.0 / (1.0 + np.exp(theta[verdicts.second] - theta[verdicts.first]))
        rest, weight = verdicts.outcome - chance, chance * (1.0 - chance)
        gradient = np.bincount(verdicts.first, rest, ITEMS) - np.bincount(verdicts.second, rest, ITEMS)
        if np.abs(gradient).max() < 1e-12:
            break
        links = np.zeros((ITEMS, ITEMS))
        np.add.at(links, (verdicts.first, verdicts.second), weight)
        links += links.T
        hessian = np.diag(links.sum(axis=1)) - links
        step = np.zeros(ITEMS)
        step[1:] = np.linalg.solve(hessian[1:, 1:], gradient[1:])
        theta += step * min(1.0, 3.0 / np.abs(step).max())
    return theta - theta.mean()


def _peers(verdicts: Verdicts) -> dict[str, FloatArray | None]:
    pairs = as_pairs(verdicts)
    winners, losers = zip(*pairs, strict=True)

    def with_evalica() -> FloatArray:
        found = evalica.bradley_terry(winners, losers, [evalica.Winner.X] * len(pairs))
        return np.log(found.scores.sort_index().to_numpy())

    asked = {
        "choix opt_pairwise": lambda: choix.opt_pairwise(ITEMS, pairs),
        "choix ilsr_pairwise": lambda: choix.ilsr_pairwise(ITEMS, pairs),
        "choix mm_pairwise": lambda: choix.mm_pairwise(ITEMS, pairs),
        "evalica bradley_terry": with_evalica,
    }
    found: dict[str, FloatArray | None] = {}
    for name, estimate in asked.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = np.asarray(estimate(), dtype=np.float64)
        except RuntimeError:  # choix: it did not converge
            found[name] = None
    return found


def _symmetries(verdicts: Verdicts) -> list[Bar]:
    """What renaming the items and reversing every verdict change, at the product's defaults and in choix at alpha .01."""
    rng = np.random.default_rng(SEED)
    rename = rng.permutation(ITEMS)
    renamed = Verdicts(rename[verdicts.first], rename[verdicts.second], verdicts.outcome)
    reversed_ = Verdicts(verdicts.first, verdicts.second, 1.0 - verdicts.outcome)
    bars = []
    for name, estimate, most in (
        ("ours", lambda given: fit(given, ITEMS).scores, 1e-9),
        ("choix alpha=.01", lambda given: choix.ilsr_pairwise(ITEMS, as_pairs(given), alpha=0.01), None),
    ):
        plain = estimate(verdicts)
        bars.append(
            Bar(
                f"{name}: renaming moves a score by at most",
                float(np.abs(estimate(renamed)[rename] - plain).max()),
                most=most,
            )
        )
        bars.append(
            Bar(
                f"{name}: reversing every verdict, |score + reversed| at most",
                float(np.abs(estimate(reversed_) + plain).max()),
                most=0.0 if name == "ours" else None,
            )
        )
    return bars
