"""A process that does everything to the same few rows, as fast as it can: run several to look for deadlocks.

`python -m tests.contracts.queue_hammer URL SEED CHANGES [LEDGER]` prints how many changes it made and how many failed.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import NAMESPACE_OID, uuid5

from app.contracts import Outcome
from app.database.postgresql import PostgresDatabase
from app.errors import LeaseLost, NotFound, StoreUnavailable
from app.provider.queue.ledger import Ledger
from app.provider.queue.protocol import Lease, QueuedRequest, Reply, RequestQueue, StoredOutcome
from app.provider.queue.sql import SqlQueue
from app.provider.queue.turn import Change, Turn
from tests.contracts.queue_world import JUDGED, JUDGELESS

ROWS = 12
HANDS = 16
LIMIT = 60.0
"""Seconds after which a machine is too slow to go on."""


class NamesRowsInAnyOrder(Ledger):
    """Rows are locked by the statements that change them, one kind after the other."""

    def _lock(self, turn: Turn, changes: Sequence[Change]) -> None:
        turn.reachable = None  # as where nobody else writes


LEDGERS: dict[str, type[Ledger]] = {"Ledger": Ledger, "NamesRowsInAnyOrder": NamesRowsInAnyOrder}


def numbered(number: int) -> QueuedRequest:
    return QueuedRequest(
        queue_id=uuid5(NAMESPACE_OID, f"hammer {number}"),
        correlation_id=uuid5(NAMESPACE_OID, f"correlation {number}"),
        principal="teacher",
        lane=(JUDGED, JUDGELESS)[number % 2],
        body=b"{}",
        fingerprint=b"sha",
        callback_topic="results",
        callback_key="batch",
    )


class Hammer:
    """Works on rows of its own while it asks for those of all; every id lives again as soon as it is closed."""

    def __init__(self, queue: RequestQueue, seed: int) -> None:
        self.queue = queue
        self.draw = random.Random(seed)
        self.leases: list[Lease] = []
        self.done = self.failed = 0

    async def strike(self) -> None:
        draw, queue = self.draw, self.queue
        asked = numbered(draw.randrange(ROWS))
        match draw.randrange(12):
            case 0 | 1 | 2:
                accepted = await queue.accept(asked, lease_for=draw.choice([None, 1.0, 1.0]))
                self.leases += [accepted.lease] if accepted.lease else []
            case 3 | 4:
                await queue.promise_callback(asked.queue_id)
            case 5:
                await queue.cancel(asked.queue_id)
            case 6:
                self.leases += await queue.lease(asked.lane, limit=draw.randint(1, 4), seconds=0.5)
            case 7:
                self.leases += await queue.lease_closing(limit=draw.randint(1, 4), seconds=0.5)
            case 8 if draw.random() < 0.1:
                await queue.purge()
            case _ if self.leases:
                await self.use(self.leases.pop(draw.randrange(len(self.leases))))

    async def use(self, lease: Lease) -> None:
        queue, draw = self.queue, self.draw
        if draw.random() < 0.2:
            ways: list[Callable[[], Awaitable[object]]] = [
                lambda: queue.release(lease),
                lambda: queue.extend(lease, 0.5),
                lambda: queue.begin_try(lease),
            ]
            await draw.choice(ways)()
        _, reply = await queue.store(lease, StoredOutcome(Outcome.SUCCEEDED, b"event"))
        if reply is Reply.CALLBACK:
            await queue.mark_published(lease)

    async def swing(self, changes: int, until: float) -> None:
        while self.done < changes and time.monotonic() < until:
            try:
                await self.strike()
            except (LeaseLost, NotFound):
                pass
            except StoreUnavailable as error:
                self.failed += 1
                print(error.detail, file=sys.stderr)
            self.done += 1


async def main(url: str, seed: int, changes: int, ledger: str) -> None:
    kind: type[SqlQueue] = type("Hammered", (SqlQueue,), {"ledger": LEDGERS[ledger]})
    database = PostgresDatabase(url, "juxta_provider")
    async with kind(database, boot=f"hammer {seed}", retention=0.0, limit=1_000) as queue:
        hammer = Hammer(queue, seed)
        until = time.monotonic() + LIMIT
        await asyncio.gather(*[hammer.swing(changes, until) for _ in range(HANDS)])
    print(hammer.done, hammer.failed)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), (sys.argv[4:] or ["Ledger"])[0]))
