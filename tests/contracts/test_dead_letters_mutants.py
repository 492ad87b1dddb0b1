"""What can go wrong with dead letters, done on purpose: a test of the contract must notice each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest

from app.bus import redrive
from app.bus.dead_letter import revive
from app.bus.marks import Marks
from app.bus.memory_letters import MemoryDeadLetters
from app.bus.protocol import DeadLetterLog, Kept
from tests.contracts import test_dead_letters as contract
from tests.contracts.bus_model import World
from tests.contracts.bus_worlds import MemoryWorld

pytestmark = pytest.mark.anyio

Patch = pytest.MonkeyPatch


def marked_though_its_copy_is_not_stored(patch: Patch) -> None:
    original = redrive._Run._send

    async def send(self: redrive._Run, kept: Kept) -> None:
        try:
            await original(self, kept)
        finally:
            self._marks = self._marks.add(kept.offset)

    patch.setattr(redrive._Run, "_send", send)


def never_marked(patch: Patch) -> None:
    async def mark(self: MemoryDeadLetters, partition: int, marks: Marks) -> None:
        """Nothing."""

    patch.setattr(MemoryDeadLetters, "mark", mark)


def marked_up_to_the_last_one_sent(patch: Patch) -> None:
    patch.setattr(Marks, "add", lambda self, offset: Marks(max(self.below, offset + 1)))


def sent_again_for_ever(patch: Patch) -> None:
    patch.setattr(redrive, "MOST_REDRIVES", 1000)


def sent_again_without_a_count(patch: Patch) -> None:
    patch.setattr(redrive, "again", revive)


def taken_again_in_the_same_run(patch: Patch) -> None:
    original = redrive._open

    def opened(cursor: str | None, log: DeadLetterLog) -> tuple[tuple[int, int], Mapping[int, int]]:
        start, _ = original(cursor, log)
        return start, {partition: span.stop for partition, span in log.spans.items()}

    patch.setattr(redrive, "_open", opened)


def sent_as_another_record(patch: Patch) -> None:
    patch.setattr(redrive, "again", lambda letter: replace(revive(letter), id=f"{letter.id}-again"))


def a_dry_run_that_sends(patch: Patch) -> None:
    original = redrive._Run.__init__

    def begin(self: redrive._Run, *given: object, **named: object) -> None:
        original(self, *given, **(named | {"dry_run": False}))  # type: ignore[arg-type]  # as it was called

    patch.setattr(redrive._Run, "__init__", begin)


MUTANTS: list[tuple[Callable[[Patch], None], Callable[[World], Awaitable[None]]]] = [
    (marked_though_its_copy_is_not_stored, contract.test_a_run_that_breaks_off_goes_on_where_it_stopped),
    (never_marked, contract.test_what_is_mended_is_sent_again_as_it_was_and_waits_no_more),
    (
        marked_up_to_the_last_one_sent,
        contract.test_only_what_is_meant_is_sent_and_the_others_wait_whichever_came_first,
    ),
    (sent_again_for_ever, contract.test_a_letter_that_dies_each_time_is_left_alone_in_the_end),
    (sent_again_without_a_count, contract.test_a_letter_that_dies_each_time_is_left_alone_in_the_end),
    (taken_again_in_the_same_run, contract.test_a_letter_that_dies_again_is_not_taken_in_the_same_run),
    (sent_as_another_record, contract.test_what_is_mended_is_sent_again_as_it_was_and_waits_no_more),
    (a_dry_run_that_sends, contract.test_a_dry_run_counts_by_reason_and_sends_nothing),
]


@pytest.mark.parametrize(("break_it", "test"), MUTANTS, ids=[break_it.__name__ for break_it, _ in MUTANTS])
async def test_the_contract_catches(
    break_it: Callable[[Patch], None],
    test: Callable[[World], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_it(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        await test(MemoryWorld(partitions=1))
