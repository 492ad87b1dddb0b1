"""The ledger's script: its text in Redis, and groups of changes given to it.

One call for a group, not one for each change: measured, that is twice as many requests a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from app.errors import StoreUnavailable
from app.provider.queue.redis.connection import MENDED, Command, Connection
from app.provider.queue.redis.values import Argument

LEDGER = "\n".join(
    Path(__file__).with_name(f"{part}.lua").read_text(encoding="utf-8")
    for part in ("ledger", "admission", "leasing", "people", "group")
)
"""One script: the data model and what keeps it stand in the first part."""


class Change(NamedTuple):
    """What one caller asks. `growing`: it takes memory, and is refused where there is none left."""

    kind: str
    given: Sequence[Argument] = ()
    growing: bool = False


class Script:
    """One text under two names: work that finishes work is done even when memory is short, new work is not taken."""

    def __init__(self, text: str) -> None:
        self._texts = {True: f"#!lua\n{text}", False: f"#!lua flags=allow-oom\n{text}"}
        self._hashes = {
            growing: sha1(whole.encode(), usedforsecurity=False).hexdigest()
            for growing, whole in self._texts.items()
        }

    @property
    def loading(self) -> Sequence[Command]:
        """The commands that give it to Redis."""
        return [("SCRIPT", "LOAD", text) for text in self._texts.values()]

    async def run(
        self, connection: Connection, header: Sequence[Argument], changes: Sequence[Change]
    ) -> tuple[list[Any], list[list[Any]]]:
        """An answer or an error for each change, and what the ledger told of itself each time.

        What grows goes first: a caller that was cancelled while it was accepted may already ask for the clean-up.

        :raises StoreUnavailable: none of the changes was answered.
        """
        prefix, *rest = header
        groups: list[list[int]] = []
        commands: list[Command] = []
        for growing in (True, False):
            group = [position for position, change in enumerate(changes) if change.growing is growing]
            if group:
                command: list[Argument] = ["EVALSHA", self._hashes[growing], 1, prefix, *rest]
                for position in group:
                    kind, given, _ = changes[position]
                    command += (kind, len(given), *given)
                groups.append(group)
                commands.append(command)
        replies = await self._ask(connection, commands)
        answers: list[Any] = [None] * len(changes)
        told: list[list[Any]] = []
        for group, reply in zip(groups, replies, strict=True):
            if isinstance(reply, ReadOnlyError):
                # It is a replica now; the next connect may lead to whoever took over.
                await connection.close()
            if isinstance(reply, ResponseError):
                refusal = _refusal(connection.name, reply)
                for position in group:
                    answers[position] = refusal
            else:
                for position, answer in zip(group, reply[0], strict=True):
                    answers[position] = answer
                told.append(reply[1])
        return answers, told

    async def _ask(self, connection: Connection, commands: Sequence[Command]) -> list[Any]:
        """Where Redis forgot its scripts it is given them; only what it did not know comes again."""
        replies = await connection.ask(commands)
        again = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if again:
            await connection.ask(self.loading)
            second = await connection.ask([commands[place] for place in again])
            for place, reply in zip(again, second, strict=True):
                replies[place] = reply
        return replies


def _refusal(name: str, error: ResponseError) -> Exception:
    if str(error).startswith("user_script"):
        return error  # a bug of ours
    if isinstance(error, OutOfMemoryError):
        return StoreUnavailable(f"{name} has no memory left for new requests.", retry_after=MENDED)
    refusal = StoreUnavailable(f"{name} refuses the change: {error}", retry_after=1.0)
    refusal.__cause__ = error
    return refusal
