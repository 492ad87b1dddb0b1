"""What happens to a batch of records, the same on every bus (B5, B6): a bus only fetches and commits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Protocol

import anyio
import structlog
from pydantic import ValidationError

from app.bus.dead_letter import dead_letter, describe
from app.bus.protocol import DeliveryPolicy, Handler, Record, Reject, Retry
from app.errors import Unavailable

# The same bytes will not decode the next time either.
_UNDECODABLE = (UnicodeDecodeError, json.JSONDecodeError, ValidationError)
# Beyond this the cap decides; 2 ** 1024, after some hours of `Retry`, would overflow a float.
_DOUBLINGS = 32

_log = structlog.get_logger(__name__)


class Signal(Protocol):
    """What `anyio.Event` and `asyncio.Event` have in common."""

    def is_set(self) -> bool:
        """Say whether it was given."""

    async def wait(self) -> object:
        """Return when it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One batch of one partition on its way to one group's handler.

    `settled(n)` is called when the next n records, counted from the front, may be committed. `publish` stores dead
    letters. Once `stopping` is given no call of the handler begins, not even a retry, and back-off ends at once.
    """

    group: str
    handler: Handler
    policy: DeliveryPolicy
    publish: Callable[[Record], Awaitable[None]]
    settled: Callable[[int], None]
    stopping: Signal
    random: Random

    async def settle(self, records: Sequence[Record]) -> None:
        """Return when every record is settled or `stopping` is given; the rest then stays unsettled.

        The batch goes first. If it fails, its records go one by one, so that only the offender suffers; the failure of
        the batch costs nobody a strike.
        """
        if len(records) == 1:
            await self._settle_one(records[0], attempt=1)
            return
        if self.stopping.is_set():
            return
        try:
            await self._handle(records)
        except Exception as error:  # noqa: BLE001  a handler may raise anything; what follows is the contract
            self._note(records[0], error, records=len(records))
        else:
            self.settled(len(records))
            return
        for record in records:
            await self._settle_one(record, attempt=2)

    async def _settle_one(self, record: Record, *, attempt: int) -> None:
        strikes = 0
        while not self.stopping.is_set():
            try:
                await self._handle([record if attempt == 1 else replace(record, attempt=attempt)])
            except Exception as error:  # noqa: BLE001  as above
                self._note(record, error, attempt=attempt)
                strikes += self._strikes(error)
                if self._is_final(error, strikes):
                    await self._bury(record, error)
                    return
            else:
                self.settled(1)
                return
            await self._back_off(attempt)
            attempt += 1

    async def _handle(self, records: Sequence[Record]) -> None:
        try:
            with anyio.fail_after(self.policy.handler_timeout):
                await self.handler(records)
        except asyncio.CancelledError as error:
            # A handler that awaits a task somebody else cancelled gets this although nobody cancelled the handler;
            # let through, it would end a whole task group without a word. Asked of asyncio, because a bus may cancel
            # either way.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError("the handler waited for something that was cancelled") from error

    def _strikes(self, error: Exception) -> int:
        return 0 if isinstance(error, Retry) else 1

    def _is_final(self, error: Exception, strikes: int) -> bool:
        return isinstance(error, (Reject, *_UNDECODABLE)) or strikes >= self.policy.strikes

    async def _bury(self, record: Record, error: Exception) -> None:
        """Store the dead letter, then settle; until it is stored the record stays unsettled."""
        letter = dead_letter(record, self.group, error)
        for attempt in count(1):
            try:
                await self.publish(letter)
            except Unavailable as failure:
                self._note(letter, failure, attempt=attempt)
            else:
                self.settled(1)
                return
            await self._back_off(attempt)
            if self.stopping.is_set():
                return

    async def _back_off(self, failures: int) -> None:
        longest = min(self.policy.backoff_cap, self.policy.backoff * 2 ** min(failures - 1, _DOUBLINGS))
        with anyio.move_on_after(longest * self.random.uniform(0.5, 1.0)):
            await self.stopping.wait()

    def _note(self, record: Record, error: Exception, **more: int) -> None:
        _log.warning(
            "bus.delivery.failed",
            topic=record.topic,
            group=self.group,
            id=record.id,
            error=describe(error),
            **more,
        )
