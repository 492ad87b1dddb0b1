"""A crowd that posts comparisons of its own, at a rate that does not depend on how it is answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp

from tests.faults.embedded.house import UNREAD
from tests.flow.house import QUESTION, essay, rows

ESSAYS = 40
NEVER = 30.0
"""Seconds after which a POST without any answer is a hang."""

HUNG, CUT = 0, -1


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one POST: `status` is HUNG or CUT where none came; `sent_at` is monotonic, `seconds` is how long it took.

    `late` is how much later than planned it was sent: the crowd's own delay, none of the house.
    """

    correlation_id: UUID
    status: int
    sent_at: float
    seconds: float
    late: float
    retry_after: bool

    @property
    def ended_at(self) -> float:
        return self.sent_at + self.seconds


@dataclass
class Crowd:
    """`clients` connections share the posts; each sends when the next one is due, and waits for its answer."""

    url: str
    rate: float
    clients: int
    answers: list[Reply] = field(default_factory=list)
    _ended: bool = False

    async def run(self) -> None:
        """Post until told to end."""
        turns, began = count(), time.monotonic()
        limits = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=NEVER)
        async with (
            aiohttp.ClientSession(connector=limits[0], timeout=limits[1]) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self.clients):
                group.create_task(self._client(session, turns, began))

    def end(self) -> None:
        self._ended = True

    async def _client(self, session: aiohttp.ClientSession, turns: Iterator[int], began: float) -> None:
        while not self._ended:
            turn = next(turns)
            due = began + turn / self.rate
            await asyncio.sleep(due - time.monotonic())
            if not self._ended:
                self.answers.append(await self._post(session, turn, due))

    async def _post(self, session: aiohttp.ClientSession, turn: int, due: float) -> Reply:
        name = uuid4()
        content = {
            "user_prompt": QUESTION,
            "essay_a": essay(turn % ESSAYS),
            "essay_b": essay((turn + 1 + turn // ESSAYS % (ESSAYS - 1)) % ESSAYS),
            "callback_topic": UNREAD,
            "correlation_id": str(name),
        }
        sent, again = time.monotonic(), False
        try:
            async with session.post(f"{self.url}/api/v1/comparison", json=content) as response:
                await response.read()
                status, again = response.status, "Retry-After" in response.headers
        except TimeoutError:
            status = HUNG
        except aiohttp.ClientError:
            status = CUT
        return Reply(name, status, sent, time.monotonic() - sent, sent - due, again)


@contextmanager
def posting(url: str, *, rate: float, clients: int = 16) -> Iterator[Crowd]:
    """A crowd posts, in a thread, while inside; `answers` grows. It leaves when its last POST is answered."""
    crowd = Crowd(url, rate, clients)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(crowd.run())
        except BaseException as error:  # noqa: BLE001 - told to who waits
            failures.append(error)

    thread = threading.Thread(target=run, name="crowd")
    thread.start()
    try:
        yield crowd
    finally:
        crowd.end()
        thread.join()
    if failures:
        raise failures[0]


def promised(answers: Sequence[Reply]) -> set[UUID]:
    """Those that were told 200 or 202."""
    return {answer.correlation_id for answer in answers if answer.status in {200, 202}}


def broken_promises(folder: Path, answers: Sequence[Reply]) -> list[str]:
    """Of what was answered 200 or 202: what the ledger does not know, and what has no outcome that was passed on."""
    known = {
        UUID(bytes=name): (state, outcome)
        for name, state, outcome in rows(
            folder / "provider.db", "SELECT correlation_id, state, outcome FROM requests"
        )
    }
    owed = promised(answers)
    return [
        *(f"false 202: the ledger does not know {name}" for name in owed - known.keys()),
        *(
            f"broken: {name} is {known[name]}"
            for name in owed & known.keys()
            if known[name] != ("published", "succeeded")
        ),
    ]


def nth(values: Sequence[float], share: float) -> float:
    """The value that so great a share does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
