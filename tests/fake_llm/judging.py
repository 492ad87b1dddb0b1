"""How the fake model judges: it finds the essays in the prompt and knows their scores, or goes by length."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Literal

DELIMITER = re.compile(
    r"^[^\w\n]*(?P<end>END[ _-]?(?:OF[ _-])?)?(?:BEGIN[ _-])?ESSAY[ _-](?P<label>[AB])\b(?P<rest>[^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
NONCE = re.compile(r"\b[0-9a-f]{8,}\b")
LENGTH_WEIGHT = 3.0


@dataclass(frozen=True)
class Opinion:
    """The essay that the model names, and the probability that it would have named A. `known`: the scores were known."""

    winner: Literal["A", "B", "tie"]
    a_wins: float
    known: bool

    @property
    def confidence(self) -> float:
        """How sure, from 0.5 to 1."""
        return max(self.a_wins, 1 - self.a_wins)


class FakeJudge:
    """A wins with probability 1 / (1 + exp(-(d (s_A - s_B) + bias))); s the true scores in logits, by sha256.

    The draw depends on the seed and on the two texts in their order, as that of the judge `simulated`, and on nothing
    else. Texts without a score are judged by their length, without a draw. `bias` in logits favours the first essay.
    """

    def __init__(
        self,
        scores: Mapping[str, float] | None = None,
        *,
        seed: int = 0,
        discrimination: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        self._scores = scores or {}
        self._seed = seed
        self._discrimination = discrimination
        self._bias = bias

    def decide(self, essay_a: str, essay_b: str) -> Opinion:
        """Which is better."""
        if essay_a == essay_b:
            return Opinion("tie", 0.5, known=False)
        a, b = (
            hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in (essay_a, essay_b)
        )
        if a not in self._scores or b not in self._scores:
            margin = LENGTH_WEIGHT * log((1 + len(essay_a)) / (1 + len(essay_b))) + self._bias
            return Opinion("A" if margin >= 0 else "B", _logistic(margin), known=False)
        a_wins = _logistic(self._discrimination * (self._scores[a] - self._scores[b]) + self._bias)
        noise = hashlib.sha256(f"{self._seed}:{a}:{b}".encode()).digest()
        draw = (int.from_bytes(noise[:8]) >> 11) / 2**53
        return Opinion("A" if draw < a_wins else "B", a_wins, known=True)


def find_essays(prompt: str) -> tuple[str, str] | None:
    """The texts between delimiter lines such as `<<<ESSAY A 4f1c…>>>` and `<<<END ESSAY A 4f1c…>>>`, as they stand.

    The delimiters of both essays carry one nonce; a line of that look without the nonce of the first one is text.
    """
    found: dict[str, str] = {}
    nonce = opened = ""
    begin = 0
    for line in DELIMITER.finditer(prompt):
        carried = NONCE.search(line["rest"])
        if carried is None or (nonce and carried[0] != nonce):
            continue
        label, ends = line["label"].upper(), line["end"] is not None
        if not ends and not opened and label not in found:
            nonce, opened, begin = carried[0], label, line.end() + 1
        elif ends and label == opened:
            found[label] = prompt[begin : line.start() - 1] if line.start() > begin else ""
            opened = ""
    return (found["A"], found["B"]) if found.keys() == {"A", "B"} else None


def _logistic(margin: float) -> float:
    return 1 / (1 + exp(-margin)) if margin >= 0 else 1 - 1 / (1 + exp(margin))
