"""Faults in how callbacks are published and taken: each breaks one promise of a bus."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from app.bus.delivery import Delivery
from app.bus.kafka.partition import Place
from app.bus.kafka.publisher import Publisher
from app.bus.protocol import Record
from app.errors import BusUnavailable


def publish_on_trust() -> None:
    """A publish that failed, or whose fate is unknown, is taken for done."""
    part: Any = Publisher
    publish = part.publish

    async def on_trust(self: Publisher, record: Record, **more: Any) -> None:
        with suppress(BusUnavailable):
            await publish(self, record, **more)

    part.publish = on_trust


def committed_when_fetched() -> None:
    """Offsets are committed before the handler has ended."""
    part: Any = Place
    put, settled = part.put, part._settled

    def put_and_commit(self: Place, messages: list[Any]) -> None:
        put(self, messages)
        self.next = messages[-1].offset + 1
        self._progressed()

    def settled_before(self: Place, incarnation: int, count: int) -> None:
        furthest = self.next or 0
        settled(self, incarnation, count)
        self.next = max(furthest, self.next or 0)

    part.put, part._settled = put_and_commit, settled_before


def committed_past_a_failure() -> None:
    """A batch is tried once, and settled whatever came of it."""
    part: Any = Delivery

    async def settle_at_once(self: Delivery, records: Sequence[Record]) -> None:
        try:
            await self.handler(records)
        except Exception as error:  # noqa: BLE001 - that is the defect
            self._note(records[0], error)
        self.settled(len(records))

    part.settle = settle_at_once
