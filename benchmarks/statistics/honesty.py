"""Whether the stated reliability and the intervals are true when the product stops, and for a judge who tosses coins."""

from __future__ import annotations

import numpy as np

from app.cj.statistics.bradley_terry import fit
from app.cj.statistics.reliability import separation_reliability
from app.cj.statistics.simulation.course import Course, Scene, rehearse
from app.cj.statistics.simulation.judging import JudgeProfile
from benchmarks.statistics.bar import Bar

SEED = 8
COIN = JudgeProfile(sharpness=0.0)
LOOSE = 10.0


def run() -> list[Bar]:
    """At the stop for a reliability of .80 and .90; and 12 rounds of coins."""
    bars: list[Bar] = []
    for items, repetitions in ((30, 80), (100, 40)):
        for target in (0.8, 0.9):
            bars += _at_stop(items, repetitions, target)
        bars += _coins(items, repetitions)
        bars += _coins(items, repetitions, judges=5)
    bars += _panel(0.5), _panel(1.0)
    return bars


def _at_stop(items: int, repetitions: int, target: float) -> list[Bar]:
    scene = Scene(items=items, rounds=24 if items > 60 else 28)
    over, covered, asked = [], [], []
    for number in range(repetitions):
        course = rehearse(scene, [SEED, number])
        at = course.stop(target)
        if at is None:
            continue
        over.append(course.reliability[at] - course.r2[at])
        covered.append(course.coverage[at])
        asked.append(course.per_item[at])
    where = f"{items} essays, stop at {target:.2f}"
    return [
        Bar(f"{where}: stated reliability above the true r² by", float(np.mean(over)), most=0.03),
        Bar(f"{where}: 95 % intervals that hold the truth", float(np.mean(covered)), least=0.9),
        Bar(f"{where}: comparisons per essay", float(np.mean(asked))),
        Bar(f"{where}: batches that stopped", len(over) / repetitions, unit="share"),
    ]


def _panel(sharpness: float) -> Bar:
    """Five equal judges, each of whom gives few verdicts: do they seem better than they are?"""
    scene = Scene(items=30, rounds=12, judges=(JudgeProfile(sharpness=sharpness),) * 5)
    courses = [rehearse(scene, [SEED, number]) for number in range(40)]
    over = np.mean([course.reliability[-1] - course.r2[-1] for course in courses])
    name = f"30 essays, five judges of sharpness {sharpness:g}, 12 rounds: stated reliability above the true r² by"
    return Bar(name, float(over), most=0.03)


def _coins(items: int, repetitions: int, *, judges: int = 1) -> list[Bar]:
    scene = Scene(items=items, rounds=12, judges=(COIN,) * judges)
    courses = [rehearse(scene, [SEED, n]) for n in range(repetitions)]
    eb = np.array([course.reliability[-1] for course in courses])
    ssr = [_separation(course) for course in courses]
    who = "coins" if judges == 1 else f"{judges} coins"
    return [
        Bar(f"{items} essays, {who}: mean stated reliability", float(eb.mean()), most=0.15),
        Bar(f"{items} essays, {who}: batches above .15", float(np.mean(eb > 0.15)), unit="share"),
        Bar(f"{items} essays, {who}: SSR of scores with next to no prior", float(np.mean(ssr))),
    ]


def _separation(course: Course) -> float:
    """SSR as it is used elsewhere: scores close to maximum likelihood, which a wide prior only keeps finite."""
    loose = fit(course.verdicts, len(course.truth), sigma=LOOSE, position=False)
    return separation_reliability(loose.scores, loose.standard_errors).of_true_spread
