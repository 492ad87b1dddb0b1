"""Fits written out by hand, so that what is computed from them can be checked with pencil and paper."""

from collections.abc import Sequence

import numpy as np

from app.cj.statistics.bradley_terry import Fit


def fit_of(
    scores: Sequence[float],
    *,
    errors: Sequence[float] | float = 0.5,
    sigma: float = 1.5,
    positions: Sequence[float] = (0.0,),
    position_error: float = 0.1,
    slopes: Sequence[float] | None = None,
    islands: Sequence[int] | None = None,
) -> Fit:
    count = len(scores)
    return Fit(
        scores=np.array(scores, float),
        standard_errors=np.broadcast_to(np.asarray(errors, float), (count,)).copy(),
        sigma=sigma,
        reliability=0.5,
        iterations=0,
        positions=np.array(positions, float),
        position_means=np.array(positions, float),
        position_errors=np.full(len(positions), position_error),
        slopes=np.ones(len(positions)) if slopes is None else np.array(slopes, float),
        islands=np.zeros(count, np.int64) if islands is None else np.array(islands, np.int64),
    )
