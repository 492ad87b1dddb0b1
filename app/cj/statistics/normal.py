"""The normal distribution on arrays, its density, distribution function, quantiles and mass of an interval; the logistic."""

import math
from statistics import NormalDist

import numpy as np

from app.cj.statistics import FloatArray

TWO_SIDED_95 = 1.959963984540054
"""Half the width of a 95 % interval, in standard errors."""

_erfc = np.frompyfunc(math.erfc, 1, 1)


def density(x: FloatArray) -> FloatArray:
    """Standard normal density, shape of `x`; 0 at infinity."""
    return np.asarray(np.exp(-np.square(x) / 2.0) / math.sqrt(2.0 * math.pi), dtype=np.float64)


def below(x: FloatArray) -> FloatArray:
    """P(Z < x), shape of `x`; accurate in the lower tail."""
    return np.asarray(_erfc(np.asarray(x) / -math.sqrt(2.0)), dtype=np.float64) / 2.0


def between(low: FloatArray, high: FloatArray) -> FloatArray:
    """P(low < Z < high) for low <= high, accurate in both tails: the difference is taken in the nearer one."""
    low, high = np.broadcast_arrays(low, high)
    upper = low > 0.0
    return below(np.where(upper, -low, high)) - below(np.where(upper, -high, low))


def logistic(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), shape of `x`, without overflow. The chances of a win follow it."""
    return np.asarray(0.5 * (1.0 + np.tanh(x / 2.0)), dtype=np.float64)


def quantiles(shares: FloatArray) -> FloatArray:
    """The x with P(Z < x) = share, for shares strictly between 0 and 1."""
    return np.array([NormalDist().inv_cdf(float(share)) for share in shares], dtype=np.float64)


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); (0, 1) without trials.

    Unlike p +- 1.96 sqrt(p (1 - p) / n) it keeps a width when every trial succeeded.
    """
    if trials <= 0.0:
        return 0.0, 1.0
    share, z2 = successes / trials, TWO_SIDED_95**2
    centre = (share + z2 / (2.0 * trials)) / (1.0 + z2 / trials)
    spread = share * (1.0 - share) / trials + z2 / (4.0 * trials**2)
    margin = TWO_SIDED_95 / (1.0 + z2 / trials) * math.sqrt(spread)
    return max(0.0, centre - margin), min(1.0, centre + margin)
