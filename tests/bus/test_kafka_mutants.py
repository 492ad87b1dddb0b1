"""Each mutant is a fault that a real consumer or producer had. The model, or the directed case, must notice it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from hypothesis import Phase
from hypothesis.errors import Flaky

from app.bus.kafka import publisher
from app.bus.kafka.member import Member
from app.bus.kafka.partition import Place
from tests.bus import kafka_cases as cases
from tests.contracts.bus_model import run_model
from tests.contracts.bus_worlds import KafkaWorld
from tests.engines import Kafka

Mutant = Callable[[pytest.MonkeyPatch], None]
Case = Callable[[str], Awaitable[None]]

CAUGHT_BY_THE_MODEL: list[Mutant] = []
CAUGHT_BY_A_CASE: list[tuple[Mutant, Case]] = []


class HastyWorld(KafkaWorld):
    """What is lost will not come, however long one waits."""

    patience = 2.0


def the_model(break_it: Mutant) -> Mutant:
    CAUGHT_BY_THE_MODEL.append(break_it)
    return break_it


def the_case(case: Case) -> Callable[[Mutant], Mutant]:
    def register(break_it: Mutant) -> Mutant:
        CAUGHT_BY_A_CASE.append((break_it, case))
        return break_it

    return register


@pytest.mark.parametrize("break_it", CAUGHT_BY_THE_MODEL, ids=lambda break_it: break_it.__name__)
def test_the_model_catches(break_it: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it(monkeypatch)
    # An example that fails is run again; on a real broker it need not go the same way, and hypothesis says so.
    with pytest.raises((AssertionError, ExceptionGroup, Flaky)):
        run_model(HastyWorld, examples=40, steps=15, phases=[Phase.generate])


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


@the_model
def a_new_group_starts_at_the_latest(patch: pytest.MonkeyPatch) -> None:
    def consumer(**arguments: Any) -> Any:
        return AIOKafkaConsumer(**arguments | {"auto_offset_reset": "latest"})

    patch.setattr("app.bus.kafka.member.AIOKafkaConsumer", consumer)


@the_model
def records_have_no_key(patch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    patch.setattr(publisher, "partition_for", lambda key, partitions: chance.randrange(partitions))


@the_model
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
