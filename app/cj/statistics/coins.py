"""How many of several independent coins, each with a chance of its own, show heads."""

import numpy as np

from app.cj.statistics import FloatArray


def heads(chance: FloatArray) -> FloatArray:
    """Distribution of the number of heads of c coins, the last axis: (..., c) to (..., c + 1)."""
    ways = np.zeros((*chance.shape[:-1], chance.shape[-1] + 1))
    ways[..., 0] = 1.0
    for coin in np.moveaxis(chance, -1, 0)[..., None]:
        ways[..., 1:] = ways[..., 1:] * (1.0 - coin) + ways[..., :-1] * coin
        ways[..., :1] *= 1.0 - coin
    return ways
