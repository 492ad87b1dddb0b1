"""What the statistics read of a batch: its essays' names and levels, and every verdict inside the shown scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from app.cj.batch import Batch, BatchSettings
from app.cj.scoring_ranking import as_verdicts
from app.cj.statistics.bradley_terry import Verdicts
from app.cj.store.batches import find_kept
from app.cj.store.plans import SHARE
from app.contracts import Winner
from app.database.statements import fetch

_ESSAYS = """SELECT e.name, e.level, t.text FROM essays e JOIN texts t USING (batch_id, position)
    WHERE batch_id = :id ORDER BY position"""
_JUDGEMENTS = """SELECT sequence, wave, first, second, judge, winner, confidence, audit_of, flags FROM comparisons
    WHERE batch_id = :id AND wave <= :wave AND winner IS NOT NULL ORDER BY sequence"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One verdict. Essays and judge by number; `confidence` as the judge stated it.

    `audit_of`: the verdict that was asked for again with the sides swapped. Such a one counts in no score.
    """

    sequence: int
    wave: int
    first: int
    second: int
    judge: int
    winner: Winner
    confidence: float | None
    audit_of: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A batch as it stood when the waves up to `batch.fitted_wave` were complete. `flags` by essay, each name once.

    Of the texts there are the number of words and the sha256.
    """

    batch: Batch
    names: Sequence[str]
    levels: Sequence[str | None]
    words: Sequence[int]
    hashes: Sequence[str]
    judgements: Sequence[Judgement]
    flags: Mapping[int, Sequence[str]]

    @property
    def judges(self) -> tuple[str, ...]:
        """The judge configurations as people know them."""
        return judge_names(self.batch.settings)

    @property
    def scored(self) -> Verdicts:
        """The verdicts that the scores rest on, in the order in which they were planned."""
        return verdicts(one for one in self.judgements if one.audit_of is None)

    @property
    def all(self) -> Verdicts:
        """Those and the audits."""
        return verdicts(self.judgements)


def judge_names(settings: BatchSettings) -> tuple[str, ...]:
    """The judge configurations as people know them; equal names are told apart by their numbers."""
    named = ["/".join(filter(None, (judge.provider, judge.model))) or "default" for judge in settings.judges]
    return tuple(
        name if named.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(named, 1)
    )


def verdicts(judgements: Iterable[Judgement]) -> Verdicts:
    """Judgements as the statistics take them."""
    rows = list(judgements)
    return as_verdicts(
        [one.first for one in rows],
        [one.second for one in rows],
        [SHARE[one.winner] for one in rows],
        [one.judge for one in rows],
        [one.confidence for one in rows],
    )


def material(connection: Connection, batch_id: UUID) -> Material:
    """Read it.

    :raises NotFound: no such batch, or it is being deleted.
    """
    batch = find_kept(connection, batch_id)
    essays = fetch(connection, _ESSAYS, id=str(batch_id))
    rows = fetch(connection, _JUDGEMENTS, id=str(batch_id), wave=batch.fitted_wave)
    flags: dict[int, set[str]] = {}
    for row in rows:
        for flag in json.loads(row.flags or "[]"):
            side, _, name = flag.partition(":")
            sides = {"essay_a": (row.first,), "essay_b": (row.second,)}.get(side, (row.first, row.second))
            for essay in sides:
                flags.setdefault(essay, set()).add(name or flag)
    return Material(
        batch=batch,
        names=[row.name for row in essays],
        levels=[row.level for row in essays],
        words=[len(row.text.split()) for row in essays],
        hashes=[hashlib.sha256(row.text.encode()).hexdigest() for row in essays],
        judgements=[
            Judgement(
                sequence=row.sequence,
                wave=row.wave,
                first=row.first,
                second=row.second,
                judge=row.judge,
                winner=Winner(row.winner),
                confidence=row.confidence,
                audit_of=row.audit_of,
            )
            for row in rows
        ],
        flags={essay: sorted(names) for essay, names in flags.items()},
    )
