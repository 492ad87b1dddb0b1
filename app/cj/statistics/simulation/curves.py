"""Many rehearsals of one scene, averaged: how many comparisons a goal takes."""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray
from app.cj.statistics.simulation.course import Course, Scene, rehearse

_MEASURES = ("r2", "tau", "reliability", "coverage")


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Means over the repetitions after each round, shape (rounds,); see `Course`."""

    per_item: FloatArray
    r2: FloatArray
    tau: FloatArray
    reliability: FloatArray
    coverage: FloatArray
    courses: tuple[Course, ...]

    def needed(self, r2: float) -> float | None:
        """Comparisons per item at which the mean r2 passes a goal, between rounds by a straight line.

        None when it never does.
        """
        (reached,) = np.nonzero(self.r2 >= r2)
        if not reached.size:
            return None
        at = int(reached[0])
        if at == 0:
            return float(self.per_item[0])
        low, high = self.r2[at - 1], self.r2[at]
        share = (r2 - low) / (high - low)
        return float(self.per_item[at - 1] + share * (self.per_item[at] - self.per_item[at - 1]))

    def at(self, per_item: float, measure: str = "r2") -> float | None:
        """A measure at so many comparisons per item; None beyond the last round."""
        if per_item > self.per_item[-1]:
            return None
        return float(np.interp(per_item, self.per_item, getattr(self, measure)))


def average(scene: Scene, *, seed: int, repetitions: int) -> Curves:
    """Rehearse a scene with the seeds [seed, 0], [seed, 1], …; rounds that not every repetition reached are left out."""
    courses = [rehearse(scene, [seed, number]) for number in range(repetitions)]
    rounds = min(len(one.per_item) for one in courses)
    means = {name: np.mean([getattr(one, name)[:rounds] for one in courses], axis=0) for name in _MEASURES}
    return Curves(courses[0].per_item[:rounds], **means, courses=tuple(courses))
