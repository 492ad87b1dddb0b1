"""The statistics of comparative judgement: pure functions on numpy arrays, without I/O, clock or hidden randomness.

Items are numbered 0..n-1. Scores are in logits: a difference of 1 means that the better item wins 73 times
in 100. With up to about 500 items one BLAS thread is fastest; the process that fits decides that, not this
package.
"""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class NotConverged(ArithmeticError):
    """An iteration reached its limit; the half-finished figures are withheld rather than shown."""
