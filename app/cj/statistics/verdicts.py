"""What judges said, as parallel arrays."""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from app.cj.statistics import FloatArray, IntArray

_TYPES = {
    "first": np.int64,
    "second": np.int64,
    "outcome": np.float64,
    "judge": np.int64,
    "confidence": np.float64,
}


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """Verdicts in parallel arrays of shape (m,): who was shown first, who second, and what which judge said.

    `outcome` is 1.0 when the first won, 0.0 when the second won, 0.5 for a tie. `judge` is the number of the
    judge configuration (model, prompt, settings), from 0; left out, one judge said it all. `confidence` is what
    the judge stated, in 0..1, NaN where it stated none; left out, none was ever stated. The arrays are copied
    and made read-only.
    """

    first: IntArray
    second: IntArray
    outcome: FloatArray
    judge: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    confidence: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        said = np.shape(self.outcome)
        if np.size(self.judge) == 0:
            object.__setattr__(self, "judge", np.zeros(said, np.int64))
        if np.size(self.confidence) == 0:
            object.__setattr__(self, "confidence", np.full(said, np.nan))
        for name, dtype in _TYPES.items():
            given = np.asarray(getattr(self, name))
            if given.size and dtype is np.int64 and given.dtype.kind not in "iu":
                raise ValueError(f"`{name}` holds whole numbers, not {given.dtype}")
            array = np.array(given, dtype=dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        shapes = [getattr(self, name).shape for name in _TYPES]
        if self.first.ndim != 1 or len(set(shapes)) > 1:
            raise ValueError(f"{', '.join(_TYPES)} must be equally long rows, not {shapes}")
        if (self.first == self.second).any():
            raise ValueError(f"item {self.first[self.first == self.second][0]} is compared with itself")
        for name, outside, says in (
            ("first", self.first < 0, "item numbers start at 0"),
            ("second", self.second < 0, "item numbers start at 0"),
            ("judge", self.judge < 0, "judge numbers start at 0"),
            (
                "outcome",
                ~((self.outcome >= 0.0) & (self.outcome <= 1.0)),
                "an outcome lies between 0.0 (second won) and 1.0 (first won)",
            ),
            (
                "confidence",
                (self.confidence < 0.0) | (self.confidence > 1.0),
                "a confidence lies between 0.0 and 1.0, or is NaN",
            ),
        ):
            if outside.any():
                raise ValueError(f"{says}; `{name}` of verdict {int(outside.argmax())} does not")

    @classmethod
    def empty(cls) -> Self:
        """No verdicts yet."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))

    def __len__(self) -> int:
        return len(self.first)

    @property
    def judges(self) -> int:
        """How many judge configurations there are: the highest number and one; at least one."""
        return int(self.judge.max(initial=0)) + 1

    def count(self, items: int) -> IntArray:
        """Verdicts per item, shape (items,)."""
        refuse_strangers(self, items)
        return np.bincount(np.concatenate((self.first, self.second)), minlength=items).astype(np.int64)

    def among(self, kept: IntArray) -> Self:
        """The verdicts between items that are kept, these numbered anew in the order of `kept`; judges stay."""
        last = max(int(some.max(initial=-1)) for some in (self.first, self.second, kept))
        number = np.full(last + 1, -1)
        number[kept] = np.arange(len(kept))
        first, second = number[self.first], number[self.second]
        both = (first >= 0) & (second >= 0)
        return replace(self.where(both), first=first[both], second=second[both])

    def where(self, kept: np.typing.NDArray[np.bool_] | IntArray) -> Self:
        """Some of the verdicts, by a mask or by places in a row."""
        return type(self)(*(getattr(self, name)[kept] for name in _TYPES))


def pair_code(one: IntArray, other: IntArray, items: int) -> IntArray:
    """One number per unordered pair: smaller * items + larger."""
    return np.minimum(one, other) * items + np.maximum(one, other)


def refuse_strangers(verdicts: Verdicts, items: int) -> None:
    """Check that every verdict is about items that exist.

    Raises:
        ValueError: there are no items, or a verdict names one beyond the last.
    """
    if items < 1:
        raise ValueError("a batch has at least one item")
    if len(verdicts) and (last := int(max(verdicts.first.max(), verdicts.second.max()))) >= items:
        raise ValueError(f"a verdict names item {last}, but there are only {items} items")
