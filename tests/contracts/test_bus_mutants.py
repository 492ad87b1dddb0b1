"""Each mutant is a fault that a real bus had. The model must notice every one of them, or it promises nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase

from app.bus import delivery, log
from app.bus.dead_letter import dead_letter
from app.bus.delivery import Delivery
from app.bus.log import Frame, Log, Partition, Place
from app.bus.memory import InMemoryBus
from app.bus.protocol import Record, Reject
from tests.contracts.bus_model import run_model
from tests.contracts.bus_worlds import MemoryWorld

Mutant = Callable[[pytest.MonkeyPatch], None]

MUTANTS: list[Mutant] = []


def mutant(break_it: Mutant) -> Mutant:
    MUTANTS.append(break_it)
    return break_it


@pytest.mark.parametrize("break_it", MUTANTS, ids=lambda break_it: break_it.__name__)
def test_the_model_catches(break_it: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it(monkeypatch)
    # A fault ends as an assertion, or as an error of the mutant itself, alone or in a group.
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_model(MemoryWorld, examples=300, steps=30, phases=[Phase.generate])


@mutant
def settled_without_a_dead_letter(patch: pytest.MonkeyPatch) -> None:
    async def bury(self: Delivery, record: Record, error: Exception) -> None:
        self.settled(1)

    patch.setattr(Delivery, "_bury", bury)


@mutant
def committed_before_it_is_handled(patch: pytest.MonkeyPatch) -> None:
    async def settle(self: Delivery, records: Sequence[Record]) -> None:
        self.settled(len(records))
        await original(replace(self, settled=lambda count: None), records)

    original = Delivery.settle
    patch.setattr(Delivery, "settle", settle)


@mutant
def a_new_group_starts_at_the_end(patch: pytest.MonkeyPatch) -> None:
    def admit(self: Partition, group: str) -> None:
        self.committed.setdefault(group, self.start + len(self.frames))

    patch.setattr(Partition, "admit", admit)


@mutant
def strikes_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "_is_final", lambda self, error, strikes: isinstance(error, Reject))


@mutant
def retry_counts_as_a_strike(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Delivery, "_strikes", lambda self, error: 1)


@mutant
def a_failed_batch_counts_as_a_strike(patch: pytest.MonkeyPatch) -> None:
    async def settle_one(self: Delivery, record: Record, *, attempt: int) -> None:
        policy = replace(self.policy, strikes=self.policy.strikes - (attempt - 1))
        await original(replace(self, policy=policy), record, attempt=attempt)

    original = Delivery._settle_one
    patch.setattr(Delivery, "_settle_one", settle_one)


@mutant
def a_failed_batch_is_dead_lettered_whole(patch: pytest.MonkeyPatch) -> None:
    async def settle(self: Delivery, records: Sequence[Record]) -> None:
        try:
            await self._handle(records)
        except Exception as error:  # noqa: BLE001  the fault itself
            for record in records:
                await self._bury(record, error)
        else:
            self.settled(len(records))

    patch.setattr(Delivery, "settle", settle)


@mutant
def a_lost_dead_letter_is_settled(patch: pytest.MonkeyPatch) -> None:
    async def bury(self: Delivery, record: Record, error: Exception) -> None:
        try:
            await self.publish(dead_letter(record, self.group, error))
        finally:
            self.settled(1)

    patch.setattr(Delivery, "_bury", bury)


@mutant
def objects_cross_instead_of_bytes(patch: pytest.MonkeyPatch) -> None:
    def encode(record: Record) -> Any:
        return record

    def decode(topic: str, frame: Any) -> Any:
        return frame

    patch.setattr(log, "encode", encode)
    patch.setattr(log, "decode", decode)


@mutant
def headers_are_lost_on_the_way(patch: pytest.MonkeyPatch) -> None:
    def decode(topic: str, frame: Frame) -> Record:
        return replace(original(topic, frame), headers={})

    original = log.decode
    patch.setattr(log, "decode", decode)


@mutant
def the_key_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def partition_for(self: Log, topic: str, key: str) -> Partition:
        return self.random.choice(self.topic(topic))

    patch.setattr(Log, "partition_for", partition_for)


@mutant
def two_members_run_one_partition(patch: pytest.MonkeyPatch) -> None:
    def take(self: Log, place: Place, member: InMemoryBus) -> bool:
        return place not in member._running and self.owner(place) is member

    patch.setattr(Log, "take", take)


@mutant
def a_dead_letter_gets_a_new_id(patch: pytest.MonkeyPatch) -> None:
    def renamed(record: Record, group: str, error: Exception) -> Record:
        return replace(dead_letter(record, group, error), id=f"{record.id}-dead")

    patch.setattr(delivery, "dead_letter", renamed)


@mutant
def a_dead_letter_drops_its_headers(patch: pytest.MonkeyPatch) -> None:
    def bare(record: Record, group: str, error: Exception) -> Record:
        return dead_letter(replace(record, headers={}), group, error)

    patch.setattr(delivery, "dead_letter", bare)


@mutant
def leaving_skips_the_drain_and_commits(patch: pytest.MonkeyPatch) -> None:
    async def drain(self: InMemoryBus) -> None:
        for place in self._running:
            self.log.commit(place, 1)

    patch.setattr(InMemoryBus, "_drain", drain)


@mutant
def a_crash_settles_what_was_running(patch: pytest.MonkeyPatch) -> None:
    async def handle(self: Delivery, records: Sequence[Record]) -> None:
        try:
            await original(self, records)
        except asyncio.CancelledError:
            self.settled(len(records))
            raise

    original = Delivery._handle
    patch.setattr(Delivery, "_handle", handle)


@mutant
def a_cancelled_handler_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    async def handle(self: Delivery, records: Sequence[Record]) -> None:
        try:
            await original(self, records)
        except asyncio.CancelledError:
            return

    original = Delivery._handle
    patch.setattr(Delivery, "_handle", handle)


@mutant
def a_crashed_member_never_frees_its_partition(patch: pytest.MonkeyPatch) -> None:
    class Ghost:
        def offer(self, place: Place) -> None: ...

        def revoke(self, place: Place) -> None: ...

    def release(self: Log, place: Place) -> None:
        holder = self._holders[place]
        if isinstance(holder, InMemoryBus) and holder._closing:
            self._holders[place] = Ghost()
        else:
            original(self, place)

    original = Log.release
    patch.setattr(Log, "release", release)


@mutant
def a_member_that_left_still_owns_its_partitions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Log, "leave", lambda self, member: None)


@mutant
def handlers_begin_after_leaving(patch: pytest.MonkeyPatch) -> None:
    def close(self: InMemoryBus) -> None:
        self._closing = True

    async def drain(self: InMemoryBus) -> None:
        await original(self)
        self.log.leave(self)

    original = InMemoryBus._drain
    patch.setattr(InMemoryBus, "_close", close)
    patch.setattr(InMemoryBus, "_drain", drain)


@mutant
def a_retry_begins_after_leaving(patch: pytest.MonkeyPatch) -> None:
    def close(self: InMemoryBus) -> None:
        self._closing = True
        running, self._running = self._running, {}
        self.log.leave(self)
        self._running = running

    patch.setattr(InMemoryBus, "_close", close)
    patch.setattr(InMemoryBus, "revoke", lambda self, place: None)


@mutant
def publish_works_on_a_closed_bus(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(InMemoryBus, "_refuse_unless_open", lambda self: None)
