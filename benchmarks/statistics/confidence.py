"""What stated confidence is worth: five levels that mean something, and five levels by lot."""

from __future__ import annotations

import math

from app.cj.statistics.simulation.course import Scene
from app.cj.statistics.simulation.curves import Curves, average
from app.cj.statistics.simulation.judging import Confidence, JudgeProfile
from benchmarks.statistics.bar import Bar

SEED = 8
REPETITIONS = 40


def run() -> list[Bar]:
    """r² of .90 with calibrated five-level confidence, and no loss when confidence is noise."""
    graded, hard, noise = (_curves(said) for said in (Confidence.GRADED, Confidence.NONE, Confidence.NOISE))
    needed = graded.needed(0.9)
    return [
        Bar("r² .90, 100 essays, five levels", needed or math.inf, most=11.0, unit="per essay"),
        Bar("r² at 10 per essay, five levels", graded.at(10) or math.nan),
        Bar("r² at 10 per essay, hard verdicts", hard.at(10) or math.nan),
        Bar("r² at 10 per essay, noise for confidence", noise.at(10) or math.nan),
        Bar(
            "r² lost to noise at 10 per essay",
            (hard.at(10) or math.nan) - (noise.at(10) or math.nan),
            most=0.005,
        ),
        Bar("… of the batches in which noise was used", _used(noise), unit="share"),
        Bar("… of the batches in which five levels were used", _used(graded), unit="share"),
    ]


def _curves(said: Confidence) -> Curves:
    scene = Scene(items=100, rounds=14, judges=(JudgeProfile(confidence=said),), position=False)
    return average(scene, seed=SEED, repetitions=REPETITIONS)


def _used(curves: Curves) -> float:
    return sum(course.last.levels[0].used for course in curves.courses) / len(curves.courses)
