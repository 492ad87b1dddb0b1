"""The judge `simulated`: knows the true score of every text and errs as the Bradley-Terry model says.

For rehearsals, tests and benchmarks: with a known truth one can see whether a ranking finds it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import exp, isfinite
from pathlib import Path

import anyio

from app.contracts import JudgeKind, LLMComparisonRequest, LLMConfigOverrides, Winner
from app.errors import ConfigurationError
from app.provider.judges.digests import prompt_sha256, text_sha256
from app.provider.judges.overrides import require_model
from app.provider.judges.protocol import JudgeError, Verdict

PROVIDER = "simulated"
MODEL = "simulated-v1"
COLUMNS = ["sha256", "score"]
DIGEST_LENGTH = 64


class SimulatedJudge:
    """A wins with probability p = 1 / (1 + exp(-d (s_A - s_B))); s the true scores in logits, d `discrimination`.

    `scores` by the sha256 of the text, in hex. The draw depends on `seed` and the two texts in the order shown, on
    nothing else: the same request gets the same verdict on every road, and the swapped pair a draw of its own.
    `confidence` is the greater of p and 1 - p, also when the less likely essay won. `latency` in seconds.
    """

    kind = JudgeKind.SIMULATED

    def __init__(
        self,
        scores: Mapping[str, float],
        *,
        seed: int,
        discrimination: float = 1.0,
        latency: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._scores = scores
        self._seed = seed
        self._discrimination = discrimination
        self._latency = latency
        self._sleep = sleep

    def lane(self, overrides: LLMConfigOverrides) -> str:
        """One lane: there is one model and nothing to set."""
        require_model(overrides, provider=PROVIDER, models=(MODEL,))
        return f"{PROVIDER}/{MODEL}"

    def check(self, request: LLMComparisonRequest) -> None:
        """Whether a text is known takes a digest of it, and that is all there is to judging here."""

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        """Decide; `JudgeError` code: `unknown_text`."""
        if self._latency > 0:
            await self._sleep(self._latency)
        a, b = text_sha256(request.essay_a), text_sha256(request.essay_b)
        a_wins = _logistic(self._discrimination * (self._score("A", a) - self._score("B", b)))
        winner = Winner.ESSAY_A if self._draw(a, b) < a_wins else Winner.ESSAY_B
        return Verdict(
            winner=winner,
            confidence=max(a_wins, 1 - a_wins),
            justification="Simulated: drawn from known scores with seeded noise. Nobody read the essays.",
            provider=PROVIDER,
            model=MODEL,
            judge_kind=self.kind,
            prompt_sha256=prompt_sha256(request.user_prompt, request.essay_a, request.essay_b),
        )

    def _score(self, side: str, digest: str) -> float:
        score = self._scores.get(digest)
        if score is None:
            raise JudgeError("unknown_text", f"Essay {side} is not in the file of scores (sha256 {digest}).")
        return score

    def _draw(self, a: str, b: str) -> float:
        """A number in [0, 1), of 53 bits, as a float holds them."""
        noise = hashlib.sha256(f"{self._seed}:{a}:{b}".encode()).digest()
        return (int.from_bytes(noise[:8]) >> 11) / 2**53


def load_simulated(
    path: Path,
    *,
    seed: int,
    discrimination: float = 1.0,
    latency: float = 0.0,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> SimulatedJudge:
    """The judge that knows the scores in this file.

    :raises ConfigurationError: the file cannot be read, or some of its lines are wrong.
    """
    scores = load_scores(path)
    return SimulatedJudge(scores, seed=seed, discrimination=discrimination, latency=latency, sleep=sleep)


def load_scores(path: Path) -> dict[str, float]:
    """Read a CSV file with the header `sha256,score`: the digest of a text in hex, its true score in logits.

    :raises ConfigurationError: the file cannot be read, or some of its lines are wrong; all are named at once.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    scores: dict[str, float] = {}
    try:
        faults = list(_read(csv.reader(lines), scores))
    except csv.Error as error:
        faults = [str(error)]
    if faults:
        raise ConfigurationError(f"{path}: {'; '.join(faults)}")
    return scores


def _read(rows: Iterable[list[str]], scores: dict[str, float]) -> Iterable[str]:
    """Fill `scores`; yield what is wrong."""
    header_read = False
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if not header_read:
            header_read = True
            if cells != COLUMNS:
                yield f"line {number}: the header must be sha256,score"
                return
        elif len(cells) != len(COLUMNS):
            yield f"line {number}: two columns are needed, there are {len(cells)}"
        elif not _is_digest(digest := cells[0].lower()):
            yield f"line {number}: {cells[0][:80]!r} is no sha256 in hex"
        elif (score := _number(cells[1])) is None:
            yield f"line {number}: {cells[1][:80]!r} is no finite number"
        elif scores.setdefault(digest, score) != score:
            yield f"line {number}: {digest} stands above with another score"
    if not header_read:
        yield "the file is empty; its header must be sha256,score"


def _is_digest(text: str) -> bool:
    return len(text) == DIGEST_LENGTH and all(letter in "0123456789abcdef" for letter in text)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _logistic(margin: float) -> float:
    """1 / (1 + exp(-margin)), without overflow."""
    return 1 / (1 + exp(-margin)) if margin >= 0 else 1 - 1 / (1 + exp(margin))
