"""Grades by anchors in simulation: how often they are right, and whether their probabilities say so.

python -m benchmarks.statistics.grades [SEED ...]

Truth: 30 essays and 12 anchors with scores N(0, 1.8^2); 8 grades by a population's shares; whoever graded the anchors
erred by N(0, .5^2), and at least five of the grades are among them. A judge of logistic noise is asked 16 times per
essay, pairs by the product's own plan.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from app.cj.statistics import FloatArray, IntArray
from app.cj.statistics.bradley_terry import Fit, Verdicts, fit
from app.cj.statistics.grades import NO_GRADE, Grading, grade
from app.cj.statistics.normal import quantiles
from app.cj.statistics.pairing import next_pairs
from benchmarks.statistics.bar import Bar

ESSAYS, ANCHORS = 30, 12
PER_ESSAY = 16
SPREAD, MARKING_ERROR = 1.8, 0.5
SHARES = np.array([0.02, 0.08, 0.15, 0.20, 0.25, 0.15, 0.10, 0.05])
LEAST_GRADES = 5
RANDOM_ROUNDS = 4

BARS = {"exact": 0.52, "within_one": 0.97, "overstated": 0.07}
"""At least, at least, at most."""


def run() -> list[Bar]:
    """The bars, from 240 batches; beside them the grade in the middle of its probabilities instead of the likeliest."""
    found = measure(0)
    return [
        Bar("exact", found["exact"], least=BARS["exact"], unit="share"),
        Bar("within one grade", found["within_one"], least=BARS["within_one"], unit="share"),
        Bar("exact, by the middle", found["middle_exact"], unit="share"),
        Bar("within one grade, by the middle", found["middle_within_one"], unit="share"),
        Bar("stated above actual probability by", found["overstated"], most=BARS["overstated"]),
        Bar("batches with a ranking only", found["refused"] / found["batches"], unit="share"),
    ]


def measure(seed: int, *, batches: int = 240, per_essay: int = PER_ESSAY) -> dict[str, float]:
    """Means over simulated batches.

    `exact`, `within_one`: share of essays given the true grade, or one next to it; `middle_…`: were they given the
    grade at which half of the probability is reached. `stated`: mean probability of the
    grade given. `overstated`: stated - exact. `log_loss`: mean -log of the probability of the true grade.
    `refused`: batches for which there was only a ranking; they count in nothing else.
    """
    figures, refused = [], 0
    for batch in range(batches):
        rng = np.random.default_rng([seed, batch])
        scores, anchors, truth = _truth(rng)
        grading = grade(_judged(scores, per_essay, rng), anchors, grades=len(SHARES), shares=SHARES)
        if isinstance(grading, Grading):
            figures.append(_figures(grading, truth))
        else:
            refused += 1
    exact, within_one, stated, log_loss, middle_exact, middle_within_one = np.mean(figures, axis=0).tolist()
    return {
        "exact": exact,
        "within_one": within_one,
        "stated": stated,
        "overstated": stated - exact,
        "log_loss": log_loss,
        "middle_exact": middle_exact,
        "middle_within_one": middle_within_one,
        "batches": float(batches),
        "refused": float(refused),
    }


def _truth(rng: np.random.Generator) -> tuple[FloatArray, IntArray, IntArray]:
    """Scores of all, the anchors' grades as marked, and the true grades of the essays, which come first."""
    cuts = SPREAD * quantiles(np.cumsum(SHARES)[:-1])
    while True:
        scores = SPREAD * rng.standard_normal(ESSAYS + ANCHORS)
        marked = np.digitize(scores[ESSAYS:] + MARKING_ERROR * rng.standard_normal(ANCHORS), cuts)
        if len(set(marked.tolist())) >= LEAST_GRADES:
            anchors = np.concatenate((np.full(ESSAYS, NO_GRADE), marked)).astype(np.int64)
            return scores, anchors, np.digitize(scores[:ESSAYS], cuts).astype(np.int64)


def _judged(truth: FloatArray, per_essay: int, rng: np.random.Generator) -> Fit:
    items = len(truth)
    met, outcome, sides = np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(items, np.int64)
    known: Fit | None = None
    for done in range(per_essay):
        pairs = next_pairs(
            items=items,
            rounds_done=done,
            random_rounds=RANDOM_ROUNDS,
            scores=None if known is None else known.scores,
            met=met,
            sides=sides,
            rng=rng,
        )
        chance = 1.0 / (1.0 + np.exp(truth[pairs[:, 1]] - truth[pairs[:, 0]]))
        outcome = np.concatenate((outcome, rng.random(len(pairs)) < chance))
        met = np.concatenate((met, pairs))
        sides += np.bincount(pairs[:, 0], minlength=items) - np.bincount(pairs[:, 1], minlength=items)
        known = fit(Verdicts(met[:, 0], met[:, 1], outcome), items, start=known)
    assert known is not None
    return known


def _figures(grading: Grading, truth: IntArray) -> tuple[float, ...]:
    chances, given = grading.probabilities[:ESSAYS], grading.likeliest[:ESSAYS]
    middle = (np.cumsum(chances, axis=1) < 0.5).sum(axis=1)
    true_chance = chances[np.arange(ESSAYS), truth]
    return (
        float((given == truth).mean()),
        float((np.abs(given - truth) <= 1).mean()),
        float(chances.max(axis=1).mean()),
        float(-np.log(np.maximum(true_chance, 1e-12)).mean()),
        float((middle == truth).mean()),
        float((np.abs(middle - truth) <= 1).mean()),
    )


if __name__ == "__main__":
    for number in [int(each) for each in sys.argv[1:]] or [0]:
        print(json.dumps({"seed": number} | measure(number)))
