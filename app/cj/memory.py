"""What the planner remembers of a running batch between two waves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.cj.batch import PlannedPair
from app.cj.scoring_ranking import Scoring
from app.cj.statistics import IntArray
from app.cj.store import Ended

MOST_AGAIN = 2


@dataclass(slots=True)
class Memory:
    """What the planner keeps of one running batch, so that a wave costs its own size and not the batch's.

    All of it can be read again from the store. `wave` is the last wave inside; `failed` waits to be asked again;
    `closing`: there is nothing new to ask, but the waves in flight may still bring a pair to ask again.
    `withdrawn`: the budget is spent, and what waited at the provider was taken back.
    `pairs` are those asked for a score, `audits` those asked for a second time to see whether the judge is consistent, and
    `audited` the verdicts these are about; `newest` are the verdicts of the last wave, which may be. `seen` counts how often
    each essay was put before each judge. `share` is the outcome of each verdict: 1 when the first won, 0.5 for a tie.
    """

    texts: Sequence[str]
    seen: IntArray
    planned: int = 0
    pairs: list[tuple[int, int]] = field(default_factory=list)
    audits: list[tuple[int, int]] = field(default_factory=list)
    audited: set[int] = field(default_factory=set)
    wave: int = 0
    first: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    judge: list[int] = field(default_factory=list)
    confidence: list[float | None] = field(default_factory=list)
    newest: list[Ended] = field(default_factory=list)
    audit_verdicts: int = 0
    failed: list[Ended] = field(default_factory=list)
    ended: int = 0
    cost_usd: float = 0.0
    closing: bool = False
    withdrawn: bool = False
    scoring: Scoring | None = None

    def absorb(self, ended: Sequence[Ended], wave: int) -> None:
        """Take in the complete waves up to `wave`.

        A failure that may be mended is kept only while it is the pair's last: after a restart, waves are taken in
        again whose failures were asked anew long ago.
        """
        asked = Counter(self.pairs + self.audits) if any(one.share is None for one in ended) else Counter()
        if wave != self.wave:
            self.newest = [
                one for one in ended if one.wave == wave and one.share is not None and one.audit_of is None
            ]
        for one in ended:
            if one.share is not None and one.audit_of is not None:
                self.audit_verdicts += 1
            elif one.share is not None:
                self.first.append(one.first)
                self.second.append(one.second)
                self.share.append(one.share)
                self.judge.append(one.judge)
                self.confidence.append(one.confidence)
            elif one.retryable and one.again < MOST_AGAIN and asked[one.first, one.second] == one.again + 1:
                self.failed.append(one)
            self.cost_usd += one.cost_usd
        self.ended += len(ended)
        self.wave = wave

    def plan(self, pairs: Iterable[PlannedPair]) -> None:
        """Take in pairs that are stored as planned. A pair asked anew is seen no more often for that."""
        for pair in pairs:
            self.planned += 1
            if pair.audit_of is not None:
                self.audits.append((pair.first, pair.second))
                self.audited.add(pair.audit_of)
                continue
            self.pairs.append((pair.first, pair.second))
            if not pair.again:
                self.seen[pair.first, pair.judge] += 1
                self.seen[pair.second, pair.judge] += 1
