"""What the comparisons connect: who can be compared with whom at all, and who has a finite score."""

import numpy as np

from app.cj.statistics import IntArray
from app.cj.statistics.verdicts import Verdicts, refuse_strangers


def islands(verdicts: Verdicts, items: int) -> IntArray:
    """Number of the connected component of each item, shape (items,); all 0 when the graph is connected.

    Across components only the prior compares, so a ranking over several islands is a guess.
    """
    refuse_strangers(verdicts, items)
    root = np.arange(items)
    while True:
        ends = np.sort(np.stack((root[verdicts.first], root[verdicts.second])), axis=0)
        low, high = ends[:, ends[0] < ends[1]]
        if not low.size:
            return np.unique(root, return_inverse=True)[1].astype(np.int64)
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
