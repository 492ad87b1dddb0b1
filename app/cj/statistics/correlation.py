"""How far two rows of values agree, by their size and by their order."""

import math

import numpy as np

from app.cj.statistics import FloatArray


def pearson(x: FloatArray, y: FloatArray) -> float:
    """Correlation of two rows of equal length; NaN when one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0.0 else math.nan


def kendall_tau_b(x: FloatArray, y: FloatArray) -> float:
    """Kendall's tau-b (1945), which corrects for ties in either order: 1 same, -1 opposite.

    (concordant - discordant) / sqrt(pairs not tied in x * pairs not tied in y), in O(n^2) time and O(n)
    memory. NaN when all values of one side are equal: then there is no order to agree with.

    Raises:
        ValueError: the two sides differ in length.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} values cannot be compared item by item")
    agreement, untied_x, untied_y = 0, 0, 0
    for i in range(len(x) - 1):
        step_x, step_y = np.sign(x[i + 1 :] - x[i]), np.sign(y[i + 1 :] - y[i])
        agreement += int(step_x @ step_y)
        untied_x += int(np.count_nonzero(step_x))
        untied_y += int(np.count_nonzero(step_y))
    if not untied_x or not untied_y:
        return math.nan
    return agreement / math.sqrt(untied_x * untied_y)
