"""A queue that processes share: no row is leased twice at once, and every row ends once, whoever dies."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import anyio
import pytest

from app.provider.queue.protocol import QueuedRequest, RequestQueue
from tests.contracts.queue_shared import SHARED
from tests.contracts.queue_world import JUDGED

pytestmark = pytest.mark.anyio

JOBS = 10_000
ASKERS = 500


class Leased(NamedTuple):
    place: int
    attempt: int
    began_at: float | None
    ends_at: float | None
    closed: bool


async def fill(queue: RequestQueue) -> None:
    async def ask() -> None:
        for _ in range(JOBS // ASKERS):
            queue_id = uuid4()
            await queue.accept(
                QueuedRequest(
                    queue_id=queue_id,
                    correlation_id=queue_id,
                    principal="teacher",
                    lane=JUDGED,
                    body=b"{}",
                    fingerprint=b"sha",
                    callback_topic="results",
                    callback_key="batch",
                )
            )

    async with anyio.create_task_group() as askers:
        for _ in range(ASKERS):
            askers.start_soon(ask)


@pytest.mark.parametrize("kind", SHARED)
async def test_no_row_is_leased_twice_at_once_and_each_ends_once(kind: str) -> None:
    where = SHARED[kind].prepare()
    told: dict[int, list[Leased]] = defaultdict(list)

    async def work(seed: str) -> None:
        command = [sys.executable, "-m", "tests.contracts.queue_shared", kind, where, seed]
        done = await anyio.run_process(command, cwd=Path(__file__).parents[2], stderr=None)
        for line in done.stdout.splitlines():
            if line.startswith(b"["):
                leased = Leased(*json.loads(line))
                told[leased.place].append(leased)

    async with SHARED[kind].open(where, "parent") as queue:
        await fill(queue)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as processes:
                processes.start_soon(work, "one")
                processes.start_soon(work, "two")
        assert await queue.stats() == {}

    assert len(told) == JOBS
    gaps = 0
    for leases in told.values():
        leases.sort()
        assert [leased.attempt for leased in leases] == list(range(1, len(leases) + 1)), (
            "leased twice at once"
        )
        assert [leased.closed for leased in leases].count(True) == 1, "closed twice, or by nobody"
        for before, after in pairwise(leases):
            if before.ends_at is not None and after.began_at is not None:
                assert before.ends_at <= after.began_at, "leased inside a valid lease"
                gaps += 1
    assert gaps > JOBS / 50, "nobody was taken over from: this proves nothing"
