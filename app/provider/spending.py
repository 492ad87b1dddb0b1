"""What was spent on language models: each call once, by whom, on which model, on which day. Never what was judged.

It stands in the provider's database whatever the ledger stands on, so that it outlives the ledger's rows. A call is
written down when its answer is here and before its outcome is stored; only the calls that a killed process had under
way are not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from app.contracts import UsageReport, UsageRow
from app.database import Database, GroupCommit
from app.provider.judges.protocol import Spent
from app.provider.queue.protocol import Lease

DAY = 86_400.0

_CALL = (
    "INSERT INTO calls (queue_id, place, tries, lane, began_at, at, calls, prompt_tokens, cached_tokens,"
    " completion_tokens, cost_usd) VALUES (:queue_id, :place, :tries, :lane, :began_at, :at, :calls, :prompt_tokens,"
    " :cached_tokens, :completion_tokens, :cost_usd)"
    " ON CONFLICT (queue_id, place, tries) DO NOTHING RETURNING tries"
)
_COLUMNS = (
    "calls",
    "verdicts",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "cost_usd",
    "unpriced",
)
_ADD = (
    f"INSERT INTO usage (day, principal, provider, model, {', '.join(_COLUMNS)})"  # noqa: S608 - constants
    f" VALUES (:day, :principal, :provider, :model, {', '.join(f':{name}' for name in _COLUMNS)})"
    " ON CONFLICT (day, principal, provider, model) DO UPDATE SET "
    + ", ".join(f"{name} = usage.{name} + excluded.{name}" for name in _COLUMNS)
)
_OF = (
    "SELECT COALESCE(SUM(calls), 0) AS calls, COALESCE(SUM(prompt_tokens), 0) AS prompt_tokens,"
    " COALESCE(SUM(cached_tokens), 0) AS cached_tokens, COALESCE(SUM(completion_tokens), 0) AS completion_tokens,"
    " SUM(cost_usd) AS cost_usd FROM calls WHERE queue_id = :queue_id AND place = :place"
)


_RECENT = "SELECT lane, began_at, at, calls, prompt_tokens + completion_tokens AS tokens FROM calls WHERE at > :horizon"


class Paid(NamedTuple):
    """What a try came to: how many seconds ago it began and ended, its calls and tokens."""

    began: float
    ended: float
    calls: int
    tokens: int


class _Row(NamedTuple):
    """One call, as both tables need it; in the order in which rows are locked."""

    principal: str
    provider: str
    model: str
    queue_id: bytes
    place: int
    tries: int
    seconds: float
    verdict: bool
    spent: Spent


class Spending:
    """On a database that is open. `retention` is how many seconds single calls are kept; the sums stay for good.

    Time is the database's unless a `clock` is given: a machine whose own is ahead would forget what others need.
    """

    def __init__(
        self, database: Database, *, retention: float = 7 * DAY, clock: Callable[[], float] | None = None
    ) -> None:
        self._database = database
        self._retention = retention
        self._now: Callable[[Connection], float] = database.now if clock is None else lambda _: clock()
        self._writes: GroupCommit[_Row, None] = GroupCommit(database, self._write)

    async def record(
        self, lease: Lease, tries: int, spent: Spent, *, verdict: bool, seconds: float = 0.0
    ) -> None:
        """Write down a call that took so many `seconds` until now; the same call again changes nothing.

        :raises StoreUnavailable: it may or may not be written.
        """
        provider, _, model = lease.request.lane.partition("/")
        await self._writes.submit(
            _Row(
                principal=lease.request.principal,
                provider=provider,
                model=model,
                queue_id=lease.request.queue_id.bytes,
                place=lease.place,
                tries=tries,
                seconds=seconds,
                verdict=verdict,
                spent=spent,
            )
        )

    async def of(self, lease: Lease) -> Spent:
        """All that was spent on this request so far.

        :raises StoreUnavailable: it cannot be read.
        """
        values = {"queue_id": lease.request.queue_id.bytes, "place": lease.place}
        row = await self._database.read(lambda connection: connection.execute(text(_OF), values).one())
        return Spent(
            calls=int(row.calls),
            prompt_tokens=int(row.prompt_tokens),
            cached_tokens=int(row.cached_tokens),
            completion_tokens=int(row.completion_tokens),
            cost_usd=row.cost_usd,
        )

    async def recent(self, *, seconds: float) -> Mapping[str, Sequence[Paid]]:
        """What ended within the last `seconds`, by lane.

        :raises StoreUnavailable: it cannot be read.
        """

        def work(connection: Connection) -> tuple[float, Sequence[Any]]:
            now = self._now(connection)
            return now, connection.execute(text(_RECENT), {"horizon": now - seconds}).all()

        now, rows = await self._database.read(work)
        found: defaultdict[str, list[Paid]] = defaultdict(list)
        for row in rows:
            found[row.lane].append(
                Paid(now - row.began_at, max(0.0, now - row.at), int(row.calls), int(row.tokens))
            )
        return found

    async def report(self, days: int) -> UsageReport:
        """The last so many days, today included.

        :raises StoreUnavailable: it cannot be read.
        """
        sql = "SELECT * FROM usage WHERE day >= :since ORDER BY day DESC, principal, provider, model"

        def work(connection: Connection) -> Sequence[Any]:
            since = _day(self._now(connection)) - timedelta(days=days - 1)
            return connection.execute(text(sql), {"since": since.isoformat()}).all()

        rows = await self._database.read(work)
        return UsageReport(
            rows=tuple(UsageRow(**(row._asdict() | {"day": date.fromisoformat(row.day)})) for row in rows)
        )

    async def purge(self) -> None:
        """Forget single calls past the retention; their outcomes are stored.

        :raises StoreUnavailable: some may be left.
        """

        def work(connection: Connection) -> None:
            horizon = self._now(connection) - self._retention
            connection.execute(text("DELETE FROM calls WHERE at < :horizon"), {"horizon": horizon})

        await self._database.write(work)

    async def check(self) -> None:
        """Return when calls can be written down.

        :raises StoreUnavailable: they cannot.
        """
        await self._database.check()

    def _write(self, connection: Connection, rows: Sequence[_Row]) -> Sequence[None]:
        """In one order, so that two processes never wait for each other in a circle."""
        at = self._now(connection)
        for row in sorted(rows, key=lambda row: row[:6]):
            if connection.execute(text(_CALL), _of_call(row, at)).first() is not None:
                connection.execute(text(_ADD), {"day": _day(at).isoformat(), **_of_usage(row, at)})
        return [None] * len(rows)


def _day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()


def _of_call(row: _Row, at: float) -> dict[str, Any]:
    spent = row.spent
    return {
        "queue_id": row.queue_id,
        "place": row.place,
        "tries": row.tries,
        "lane": f"{row.provider}/{row.model}",
        "began_at": at - row.seconds,
        "at": at,
        "calls": spent.calls,
        "prompt_tokens": spent.prompt_tokens,
        "cached_tokens": spent.cached_tokens,
        "completion_tokens": spent.completion_tokens,
        "cost_usd": spent.cost_usd,
    }


def _of_usage(row: _Row, at: float) -> dict[str, Any]:
    return _of_call(row, at) | {
        "principal": row.principal,
        "provider": row.provider,
        "model": row.model,
        "verdicts": int(row.verdict),
        "cost_usd": row.spent.cost_usd or 0.0,
        "unpriced": row.spent.calls if row.spent.cost_usd is None else 0,
    }
