"""What cj answers over HTTP. The adapter that writes an answer also describes it, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

from pydantic import TypeAdapter

from app.cj.batch import Batch
from app.cj.estimate import Estimate
from app.cj.scoring_ranking import RankedEssay
from app.cj.views import COMPARISON, Comparison, Summary

__all__ = ["BATCH", "BATCHES", "COMPARISON", "COMPARISONS", "COUNTED_BATCH", "ESTIMATE", "RANKING"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedBatch(Batch):
    """A batch with what is counted over its comparisons: judges by kind and model, failures by class, roads."""

    judge_kinds: dict[str, int]
    models: dict[str, int]
    failures: dict[str, int]
    roads: dict[str, int]
    queued: int
    ai_models: tuple[str, ...]
    prompts: dict[str, int]

    @classmethod
    def of(cls, summary: Summary) -> Self:
        """The summary without its level for the batch."""
        batch = {field.name: getattr(summary.batch, field.name) for field in fields(Batch)}
        counts = {field.name: getattr(summary, field.name) for field in fields(Summary)}
        del counts["batch"]
        return cls(**batch, **counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchList:
    """Batches, the newest first."""

    batches: Sequence[Batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRanking:
    """A batch and its essays by score, best first."""

    batch: Batch
    ranking: Sequence[RankedEssay]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPage:
    """Comparisons in order; `next_after` is the cursor of the page behind this one, null once a page is not full."""

    comparisons: Sequence[Comparison]
    next_after: int | None


BATCH = TypeAdapter(Batch)
COUNTED_BATCH = TypeAdapter(CountedBatch)
BATCHES = TypeAdapter(BatchList)
RANKING = TypeAdapter(BatchRanking)
COMPARISONS = TypeAdapter(ComparisonPage)
ESTIMATE = TypeAdapter(Estimate)
