"""Which records of a partition were dealt with: all below an offset, and some runs above it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Self

_TEXT = re.compile(r"(\d{1,9}(,\d{1,9})*)?")

LONGEST = 4000
"""Characters of `Marks.text`: Kafka keeps 4,096 bytes beside a committed offset unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Marks:
    """`below`: every offset smaller than it is marked. `runs`: marked ones above, in order, apart, none touching.

    That is what a consumer group stores: an offset, and a short text.
    """

    below: int = 0
    runs: tuple[tuple[int, int], ...] = ()

    def __contains__(self, offset: int) -> bool:
        return offset < self.below or any(first <= offset < stop for first, stop in self.runs)

    def count(self, span: range) -> int:
        """How many offsets of `span` are marked."""
        runs = ((min(span.start, self.below), self.below), *self.runs)
        return sum(max(0, min(stop, span.stop) - max(first, span.start)) for first, stop in runs)

    def add(self, offset: int) -> Self:
        """These and one more."""
        if offset in self:
            return self
        return self._joined(self.below, sorted((*self.runs, (offset, offset + 1))))

    def since(self, start: int) -> Self:
        """What is left of them where the records before `start` are gone."""
        return self if start < self.below else self._joined(start, self.runs)

    def _joined(self, below: int, runs: tuple[tuple[int, int], ...] | list[tuple[int, int]]) -> Self:
        joined: list[tuple[int, int]] = []
        for first, stop in runs:
            if first <= below:
                below = max(below, stop)
            elif joined and joined[-1][1] == first:
                joined[-1] = (joined[-1][0], stop)
            else:
                joined.append((first, stop))
        return type(self)(below, tuple(joined))

    @property
    def text(self) -> str:
        """The runs as lengths from `below`: left out, marked, and so on."""
        edges = [self.below, *chain.from_iterable(self.runs)]
        return ",".join(str(later - earlier) for earlier, later in pairwise(edges))

    @classmethod
    def read(cls, below: int, text: str) -> Self:
        """Those that were written as `text`; what is no such text is none."""
        if not text or not _TEXT.fullmatch(text):
            return cls(below)
        edges = list(accumulate(map(int, text.split(",")), initial=below))[1:]
        return cls(below, tuple(zip(edges[::2], edges[1::2], strict=False))).since(below)
