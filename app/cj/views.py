"""What people read of a batch: lists, ranking, verdicts, the way of one comparison. Only reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Connection, text

from app.cj.batch import Batch, ComparisonState, NewEssay, Road
from app.cj.judge_tally import JudgeTally, judge_tallies
from app.cj.material import Material, material
from app.cj.scoring_ranking import RankedEssay, ranking
from app.cj.store import Milestone, batch_of
from app.cj.store.batches import find_kept, pairs_asked
from app.cj.store.fits import milestones
from app.contracts import JudgeKind, Winner
from app.contracts.wire import At
from app.database import Database
from app.errors import NotFound

_VERDICTS = """SELECT c.id, c.batch_id, c.sequence, c.wave, c.first, c.second, a.name AS essay_a, b.name AS essay_b,
    c.judge, c.again, c.state, c.posts, c.planned_at, c.submitted_at, c.queued_at, c.ended_at, c.ended_order, c.road,
    c.winner, c.confidence, c.justification, c.provider, c.model, c.judge_kind, c.cost_usd, c.tokens,
    c.response_time_ms, c.attempts, c.prompt_sha256, c.prompt_version, c.flags, c.error_code, c.error_detail,
    c.audit_of FROM comparisons c
    JOIN essays a ON a.batch_id = c.batch_id AND a.position = c.first
    JOIN essays b ON b.batch_id = c.batch_id AND b.position = c.second"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison for people. `essay_a` was shown first; `ended_order` numbers results as they came in.

    `queued_at` is when the provider answered 202. `flags` is what a person should look at, each with its essay:
    `essay_a:addresses-judge`. `audit_of` is the `sequence` of the verdict that was asked for again with the sides swapped.
    """

    id: UUID
    batch_id: UUID
    sequence: int
    wave: int
    first: int
    second: int
    essay_a: str
    essay_b: str
    judge: int
    again: int
    state: ComparisonState
    posts: int
    planned_at: At
    submitted_at: At | None
    queued_at: At | None
    ended_at: At | None
    ended_order: int | None
    road: Road | None
    winner: Winner | None
    confidence: float | None
    justification: str | None
    provider: str | None
    model: str | None
    judge_kind: JudgeKind | None
    cost_usd: float | None
    tokens: int | None
    response_time_ms: int | None
    attempts: int | None
    prompt_sha256: str | None
    prompt_version: str | None
    flags: tuple[str, ...]
    error_code: str | None
    error_detail: str | None
    audit_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A batch with what is counted over its comparisons: judges by kind and model, failures by class, roads.

    `ai_models` are the language models among `models`, as their servers named them; `prompts` counts verdicts by the
    version of their prompt.
    """

    batch: Batch
    judge_kinds: dict[str, int]
    models: dict[str, int]
    failures: dict[str, int]
    roads: dict[str, int]
    queued: int
    ai_models: tuple[str, ...]
    prompts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """An essay that judges flagged: what they `found` in it, in so many comparisons."""

    position: int
    essay: str
    found: tuple[str, ...]
    comparisons: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A batch with its ranking and every comparison in sequence, all as of one moment, also while it runs."""

    material: Material
    ranking: Sequence[RankedEssay]
    comparisons: Sequence[Comparison]


COMPARISON = TypeAdapter(Comparison)


def _comparison(row: Any) -> Comparison:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return COMPARISON.validate_python(fields | {"flags": json.loads(fields["flags"] or "[]")})


def flagged(comparisons: Iterable[Comparison]) -> list[Flagged]:
    """The essays that these comparisons flag; a flag that names neither essay is for both."""
    found: dict[tuple[int, str], set[str]] = {}
    seen: Counter[int] = Counter()
    for one in comparisons:
        sides = {"essay_a": (one.first, one.essay_a), "essay_b": (one.second, one.essay_b)}
        meant = set()
        for flag in one.flags:
            side, _, name = flag.partition(":")
            for essay in [sides[side]] if side in sides else sides.values():
                found.setdefault(essay, set()).add(name if side in sides else flag)
                meant.add(essay[0])
        seen.update(meant)
    return [
        Flagged(position=at, essay=essay, found=tuple(sorted(names)), comparisons=seen[at])
        for (at, essay), names in sorted(found.items())
    ]


class Views:
    """Reads on snapshots of the store; never blocks a writer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def batches(self, *, limit: int = 100) -> Sequence[Batch]:
        """Batches, the newest first."""
        sql = text("SELECT * FROM batches WHERE state <> 'deleting' ORDER BY created_at DESC LIMIT :limit")
        return await self._database.read(
            lambda c: [batch_of(row) for row in c.execute(sql, {"limit": limit})]
        )

    async def batch(self, batch_id: UUID) -> Batch:
        """One batch.

        :raises NotFound: no such batch, or it is being deleted.
        """
        return await self._database.read(lambda connection: find_kept(connection, batch_id))

    async def summary(self, batch_id: UUID) -> Summary:
        """One batch with its counts.

        :raises NotFound: as `batch`.
        """

        def work(connection: Connection) -> Summary:
            batch = find_kept(connection, batch_id)

            def count(column: str, where: str) -> dict[str, int]:
                rows = connection.execute(
                    text(
                        f"SELECT {column} AS name, count(*) AS n FROM comparisons "  # noqa: S608 - our own names
                        f"WHERE batch_id = :id AND {where} GROUP BY {column} ORDER BY n DESC"
                    ),
                    {"id": str(batch_id)},
                )
                return {str(row.name): int(row.n) for row in rows}

            return Summary(
                batch=batch,
                judge_kinds=count("judge_kind", "state = 'decided'"),
                models=count("model", "state = 'decided'"),
                failures=count("error_code", "state = 'failed'"),
                roads=count("road", "state = 'decided'"),
                ai_models=tuple(count("model", "state = 'decided' AND judge_kind = 'llm'")),
                prompts=count("prompt_version", "state = 'decided' AND prompt_version IS NOT NULL"),
                queued=count("state", "state = 'submitted' AND queued_at IS NOT NULL").get("submitted", 0),
            )

        return await self._database.read(work)

    async def pairs(self, batch_id: UUID) -> int:
        """How many different pairs were asked for a score: no audits, and what was asked again once."""
        return await self._database.read(lambda c: pairs_asked(c, batch_id))

    async def ranking(self, batch_id: UUID) -> list[RankedEssay]:
        """The essays by score, best first.

        :raises NotFound: as `batch`.
        """
        return await self._database.read(lambda connection: _ranking(connection, batch_id))

    async def record(self, batch_id: UUID) -> Record:
        """All that is to be kept of a batch, of one moment.

        :raises NotFound: as `batch`.
        """

        def work(connection: Connection) -> Record:
            rows = connection.execute(
                text(f"{_VERDICTS} WHERE c.batch_id = :id ORDER BY c.sequence"), {"id": str(batch_id)}
            )
            return Record(
                material=material(connection, batch_id),
                ranking=_ranking(connection, batch_id),
                comparisons=[_comparison(row) for row in rows],
            )

        return await self._database.read(work)

    async def fits(self, batch_id: UUID) -> Sequence[Milestone]:
        """The path of the scale, a step for each fitted wave that had a verdict.

        :raises NotFound: as `batch`.
        """

        def work(connection: Connection) -> Sequence[Milestone]:
            find_kept(connection, batch_id)
            return milestones(connection, batch_id)

        return await self._database.read(work)

    async def flagged(self, batch_id: UUID) -> Sequence[Flagged]:
        """The essays that judges flagged, in their order."""
        sql = text(f"{_VERDICTS} WHERE c.batch_id = :id AND c.flags IS NOT NULL ORDER BY c.sequence")
        rows = await self._database.read(lambda c: c.execute(sql, {"id": str(batch_id)}).all())
        return flagged(_comparison(row) for row in rows)

    async def essays(self, batch_id: UUID) -> list[NewEssay]:
        """The essays as handed in, in their order.

        :raises NotFound: as `batch`.
        """
        sql = text(
            "SELECT name, text, level FROM essays JOIN texts USING (batch_id, position)"
            " WHERE batch_id = :id ORDER BY position"
        )

        def work(connection: Connection) -> list[NewEssay]:
            find_kept(connection, batch_id)
            rows = connection.execute(sql, {"id": str(batch_id)})
            return [NewEssay(name=r.name, text=r.text, level=r.level) for r in rows]

        return await self._database.read(work)

    async def comparisons(
        self, batch_id: UUID, *, after: int = 0, limit: int = 1000, ended: bool = False
    ) -> Sequence[Comparison]:
        """Comparisons behind sequence number `after`; with `ended`, ended ones behind `ended_order` = `after`."""
        column = "ended_order" if ended else "sequence"
        sql = text(
            f"{_VERDICTS} WHERE c.batch_id = :id AND c.{column} > :after ORDER BY c.{column} LIMIT :limit"
        )
        return await self._database.read(
            lambda c: [
                _comparison(r) for r in c.execute(sql, {"id": str(batch_id), "after": after, "limit": limit})
            ]
        )

    async def comparisons_of(self, batch_id: UUID, position: int) -> Sequence[Comparison]:
        """The comparisons in which this essay was shown, in sequence."""
        sql = text(f"{_VERDICTS} WHERE c.batch_id = :id AND :at IN (c.first, c.second) ORDER BY c.sequence")
        given = {"id": str(batch_id), "at": position}
        return await self._database.read(lambda c: [_comparison(r) for r in c.execute(sql, given)])

    async def essay_text(self, batch_id: UUID, position: int) -> str:
        """The text of an essay.

        :raises NotFound: no such batch, or no such essay in it.
        """
        sql = text("SELECT text FROM texts WHERE batch_id = :id AND position = :at")
        given = {"id": str(batch_id), "at": position}
        found = await self._database.read(lambda c: c.execute(sql, given).scalar_one_or_none())
        if found is None:
            raise NotFound(f"There is no essay number {position} in batch {batch_id}.")
        return str(found)

    async def judge_tallies(self, batch_id: UUID) -> dict[int, JudgeTally]:
        """What each judge took, by its number."""
        return await self._database.read(lambda connection: judge_tallies(connection, batch_id))

    async def comparison(self, comparison_id: UUID) -> Comparison:
        """One comparison by its correlation_id.

        :raises NotFound: cj never planned it, or its batch was deleted.
        """
        sql = text(f"{_VERDICTS} WHERE c.id = :id")
        row = await self._database.read(lambda c: c.execute(sql, {"id": str(comparison_id)}).one_or_none())
        if row is None:
            raise NotFound(f"There is no comparison {comparison_id}.")
        return _comparison(row)


def _ranking(connection: Connection, batch_id: UUID) -> list[RankedEssay]:
    find_kept(connection, batch_id)
    rows = connection.execute(
        text("SELECT name, level, score, se, verdicts FROM essays WHERE batch_id = :id ORDER BY position"),
        {"id": str(batch_id)},
    ).all()
    return ranking(
        [r.name for r in rows],
        [r.level for r in rows],
        [r.score if r.verdicts else None for r in rows],
        [r.se if r.verdicts else None for r in rows],
        [r.verdicts for r in rows],
    )
