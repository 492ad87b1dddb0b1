"""Each mutant is a fault that a real consumer or producer had. The directed case that the bus passes must notice it.

No drawn ones here: a model on a real broker does not go the same way twice, and one that fails by chance catches nothing.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from app.bus.kafka import publisher
from app.bus.kafka.member import Member
from app.bus.kafka.partition import Place
from tests.bus import kafka_cases as cases
from tests.engines import Kafka

Mutant = Callable[[pytest.MonkeyPatch], None]
Case = Callable[[str], Awaitable[None]]

CAUGHT_BY_A_CASE: list[tuple[Mutant, Case]] = []


def the_case(case: Case) -> Callable[[Mutant], Mutant]:
    def register(break_it: Mutant) -> Mutant:
        CAUGHT_BY_A_CASE.append((break_it, case))
        return break_it

    return register


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("break_it", "case"), CAUGHT_BY_A_CASE, ids=[break_it.__name__ for break_it, _ in CAUGHT_BY_A_CASE]
)
async def test_the_directed_case_catches(
    break_it: Mutant, case: Case, monkeypatch: pytest.MonkeyPatch, kafka: Kafka
) -> None:
    break_it(monkeypatch)
    with pytest.raises((AssertionError, TimeoutError, ExceptionGroup)):
        await case(kafka.servers)


@the_case(cases.a_group_that_comes_later)
def a_new_group_starts_at_the_latest(patch: pytest.MonkeyPatch) -> None:
    def consumer(**arguments: Any) -> Any:
        return AIOKafkaConsumer(**arguments | {"auto_offset_reset": "latest"})

    patch.setattr("app.bus.kafka.member.AIOKafkaConsumer", consumer)


@the_case(cases.order_of_a_key)
def records_have_no_key(patch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    patch.setattr(publisher, "partition_for", lambda key, partitions: chance.randrange(partitions))


@the_case(cases.a_crash_in_the_middle_of_a_handler)
def offsets_are_committed_before_the_records_are_handled(patch: pytest.MonkeyPatch) -> None:
    def put(self: Place, messages: list[Any]) -> None:
        original(self, messages)
        self.next = messages[-1].offset + 1
        self._progressed()

    original = Place.put
    patch.setattr(Place, "put", put)


@the_case(cases.two_members_and_a_slow_handler)
def a_revoked_partition_goes_while_its_handler_runs(patch: pytest.MonkeyPatch) -> None:
    async def revoked(self: Member, _partitions: Collection[Any]) -> None:
        await self._commit(1.0)
        self._places.clear()

    patch.setattr(Member, "on_partitions_revoked", revoked)


@the_case(cases.two_members_and_a_slow_handler)
def a_revoked_partition_goes_without_its_commit(patch: pytest.MonkeyPatch) -> None:
    async def revoked(self: Member, _partitions: Collection[Any]) -> None:
        await self._stop_places(self._policy.drain)
        self._places.clear()

    patch.setattr(Member, "on_partitions_revoked", revoked)


@the_case(cases.two_members_and_a_slow_handler)
def revoking_cancels_the_handler(patch: pytest.MonkeyPatch) -> None:
    async def revoked(self: Member, _partitions: Collection[Any]) -> None:
        await self._stop_places(0.0)
        await self._commit(1.0)
        self._places.clear()

    patch.setattr(Member, "on_partitions_revoked", revoked)


@the_case(cases.a_topic_made_anew_that_has_outgrown_the_old_one)
def a_topic_is_known_by_its_name_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Member, "_topics_changed", lambda self, names: None)
