"""Dead letters for the people on call: what there is and why, and sending it again, the same on every bus.

A letter is marked only after its copy is durable under its old topic. Whoever is interrupted between the two sends a
second copy the next time, under the same id; readers take it once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from app.bus.dead_letter import again, redrives
from app.bus.letter import Letter, Where, place_of
from app.bus.marks import LONGEST, Marks
from app.bus.protocol import Bus, DeadLetterLog, Kept, Record
from app.errors import BusUnavailable, Conflict, InvalidRequest, NotFound, RecordRefused

MOST_REDRIVES = 3
"""A letter that was sent again so often and died each time is left where it is: the fault is in it, or in us."""

CHUNK = 100
"""Letters between two marks: so many are sent a second time when a process dies on the way."""

MOST_SEEN = 5_000
"""Letters looked at for one question; the answer says where to go on."""

_CURSOR = re.compile(r"\d{1,9}-\d{1,18}(:\d{1,9}-\d{1,18})+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPage:
    """Letters in order of their places; `next` is the cursor of the page behind this one, null at the end."""

    letters: Sequence[Letter]
    next: str | None


@dataclass(slots=True, kw_only=True)
class Redriven:
    """What a redrive did, or would do: `sent` letters, counted by reason without its ids, and those `refused`, by why.

    `next` is where to go on, null once every letter was looked at that was there at the first request.
    """

    sent: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    next: str | None = None


class DeadLetters:
    """Those of `topics`, on one bus."""

    def __init__(self, bus: Bus, topics: Collection[str]) -> None:
        self.topics = tuple(dict.fromkeys(topics))
        self._bus = bus
        self._redriving = anyio.Lock()

    async def counts(self) -> Mapping[str, int]:
        """How many letters wait, by topic; by arithmetic on offsets, nothing is read.

        :raises BusUnavailable: as every method here.
        """
        found = {}
        for topic in self.topics:
            async with self._bus.dead_letters(topic) as log:
                found[topic] = sum(
                    len(span) - log.marks[partition].count(span) for partition, span in log.spans.items()
                )
        return found

    async def page(
        self, topic: str, *, where: Sequence[Where] = (), after: str | None = None, limit: int = 50
    ) -> LetterPage:
        """Letters that wait, behind the place `after`.

        :raises NotFound: no such topic here.
        """
        self._know(topic)
        start = (0, 0) if after is None else _behind(after)
        letters: list[Letter] = []
        async with self._bus.dead_letters(topic) as log:
            async for seen, kept in _waiting(log, start):
                letter = Letter.of(kept)
                if all(each.matches(letter) for each in where):
                    letters.append(letter)
                if len(letters) == limit or seen == MOST_SEEN:
                    return LetterPage(letters=letters, next=letter.id)
        return LetterPage(letters=letters, next=None)

    async def find(self, topic: str, letter_id: str) -> Kept:
        """One letter with all it holds, also one that was sent again, as long as it is kept.

        :raises NotFound: it is not there, or not any more.
        """
        self._know(topic)
        partition, offset = place_of(letter_id)
        async with self._bus.dead_letters(topic) as log:
            if offset in log.spans.get(partition, ()):
                for kept in await log.read(partition, offset, 1):
                    if kept.offset == offset:
                        return kept
        raise NotFound(f"There is no dead letter {letter_id} of {topic}.")

    async def redrive(
        self,
        topic: str,
        *,
        where: Sequence[Where] = (),
        most: int = 100,
        dry_run: bool = False,
        cursor: str | None = None,
    ) -> Redriven:
        """Send up to `most` letters again; with `dry_run`, only count them.

        :raises NotFound: no such topic here.
        :raises Conflict: this process redrives already, or marks do not fit any more.
        :raises BusUnavailable: what was sent before is marked, and will not be sent again.
        """
        self._know(topic)
        if self._redriving.locked():
            raise Conflict("A redrive is running here.", hint="Wait for its end, then go on.")
        async with self._redriving, self._bus.dead_letters(topic) as log:
            start, ends = _open(cursor, log)
            run = _Run(self._bus, log, topic, dry_run=dry_run)
            try:
                async for seen, kept in _waiting(log, start, ends):
                    letter = Letter.of(kept)
                    if all(each.matches(letter) for each in where):
                        await run.take(kept, letter)
                    if run.said.sent == most or seen == MOST_SEEN:
                        run.said.next = _cursor((kept.partition, kept.offset + 1), ends)
                        break
            except BusUnavailable as error:
                await run.mark()
                raise BusUnavailable(
                    f"{error.detail} (letters sent before that: {run.said.sent})",
                    hint="Ask again; it goes on where it stopped.",
                ) from error
            await run.mark()
            return run.said

    def _know(self, topic: str) -> None:
        if topic not in self.topics:
            raise NotFound(f"No dead letters of {topic!r} are kept here; of: {', '.join(self.topics)}.")


class _Run:
    """One redrive: what it has sent and not marked yet is at most `CHUNK` letters of one partition."""

    def __init__(self, bus: Bus, log: DeadLetterLog, topic: str, *, dry_run: bool) -> None:
        self.said = Redriven()
        self._bus = bus
        self._log = log
        self._topic = topic
        self._dry_run = dry_run
        self._partition = -1
        self._marks = Marks()
        self._unmarked = 0

    async def take(self, kept: Kept, letter: Letter) -> None:
        if why := self._refusal(kept.record):
            self.said.refused[why] += 1
            return
        if not self._dry_run:
            try:
                await self._send(kept)
            except RecordRefused as error:
                self.said.refused[error.detail] += 1
                return
        self.said.sent += 1
        self.said.reasons[letter.kind] += 1

    async def mark(self) -> None:
        if self._unmarked:
            await self._log.mark(self._partition, self._marks)
            self._unmarked = 0

    def _refusal(self, record: Record) -> str:
        if record.headers.get("dead-topic") != self._topic:
            return f"no dead letter of {self._topic}"
        return f"sent again {MOST_REDRIVES} times before" if redrives(record) >= MOST_REDRIVES else ""

    async def _send(self, kept: Kept) -> None:
        if kept.partition != self._partition or self._unmarked == CHUNK:
            await self.mark()
        if kept.partition != self._partition:
            self._partition, self._marks = kept.partition, self._log.marks[kept.partition]
        marks = self._marks.add(kept.offset)
        if len(marks.text) > LONGEST:
            await self.mark()
            raise Conflict(
                f"Partition {kept.partition} has too many letters sent again between others that were not.",
                hint="Redrive without conditions first, or wait until the oldest letters are forgotten.",
            )
        await self._bus.publish(again(kept.record))
        self._marks = marks
        self._unmarked += 1


async def _waiting(
    log: DeadLetterLog, start: tuple[int, int], ends: Mapping[int, int] | None = None
) -> AsyncIterator[tuple[int, Kept]]:
    """Letters that are not marked, from a place on, numbered from 1; those marked are looked at, too."""
    seen = 0
    for partition in sorted(log.spans):
        if partition < start[0]:
            continue
        span = log.spans[partition]
        offset = max(span.start, log.marks[partition].below, start[1] if partition == start[0] else 0)
        stop = span.stop if ends is None else min(span.stop, ends.get(partition, span.start))
        while offset < stop and (found := await log.read(partition, offset, CHUNK)):
            for kept in found:
                if kept.offset < stop and kept.offset not in log.marks[partition]:
                    seen += 1
                    yield seen, kept
            offset = found[-1].offset + 1


def _open(cursor: str | None, log: DeadLetterLog) -> tuple[tuple[int, int], Mapping[int, int]]:
    """Where to begin, and where each partition ended when the first request was made."""
    if cursor is None:
        return (0, 0), {partition: span.stop for partition, span in log.spans.items()}
    if not _CURSOR.fullmatch(cursor):
        raise InvalidRequest("That is no cursor of a redrive.", errors=(("cursor", "`next` of an answer"),))
    start, *ends = (place_of(part) for part in cursor.split(":"))
    return start, dict(ends)


def _cursor(start: tuple[int, int], ends: Mapping[int, int]) -> str:
    return ":".join(f"{partition}-{offset}" for partition, offset in (start, *ends.items()))


def _behind(letter_id: str) -> tuple[int, int]:
    partition, offset = place_of(letter_id)
    return partition, offset + 1
