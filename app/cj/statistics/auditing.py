"""Which verdicts to ask for again with the sides swapped: a small share of each wave, drawn by lot.

The same judge is asked about the same pair, the other way round. That says how consistent the judge is, and whether that
drifts. It says next to nothing about the essays: at temperature 0 the second verdict repeats the first, and counting it as
independent evidence would shrink standard errors for nothing. So audits stay out of the fit.
"""

import math

import numpy as np

from app.cj.statistics import IntArray

_ROUNDING = 1e-9  # 0.07 * 100 is a little more than 7, other products a little less


def draw_audits(
    *, candidates: int, verdicts: int, audited: int, share: float, rng: np.random.Generator
) -> IntArray:
    """Numbers of the candidates to ask again, ascending: what `audited` lacks to `share` of all `verdicts`.

    The candidates are the verdicts of one wave, so that every wave is sampled alike: early pairs were drawn at random
    and are easier than the later ones between neighbours. Without a share nothing is drawn, and `rng` stays as it is.
    """
    due = min(candidates, math.floor(share * verdicts + _ROUNDING) - audited)
    if due <= 0:
        return np.zeros(0, dtype=np.int64)
    return np.sort(rng.choice(candidates, size=due, replace=False)).astype(np.int64)
