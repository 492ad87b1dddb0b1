"""Gates that a race passes in every order there is.

A part's await is stopped at a closed gate. When everybody stands at one, or waits for somebody who does, one gate
is opened: that is a choice, and a race is run again until each choice was taken at each place. So the interleavings
are enumerated, and a list of choices replays one. Where time is short, some are drawn instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from random import Random
from typing import Any, NamedTuple

from .clockwork import Clockwork, Stuck, no_threads

MOST_STEPS = 200
"""More gates than this in one race, and it goes round in circles."""


class Choice(NamedTuple):
    """Which gate was opened, out of how many."""

    gate: str
    number: int
    among: int


class Gates:
    """Closed only while a race runs; before and after it everybody passes."""

    def __init__(self, schedule: Sequence[int] = (), draw: Random | None = None) -> None:
        self.choices: list[Choice] = []
        self._schedule = schedule
        self._draw = draw
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._closed = False
        self._ended: Callable[[], bool] = lambda: True
        self._over: asyncio.Future[None]

    async def at(self, gate: str) -> None:
        """Wait until this gate is opened."""
        if not self._closed:
            return
        opened = asyncio.get_running_loop().create_future()
        self._waiting.append((gate, opened))
        try:
            await opened
        finally:
            self._waiting = [one for one in self._waiting if one[1] is not opened]

    def stop(self, who: str, part: object, *before: str, after: Sequence[str] = ()) -> None:
        """Stop `part` at a gate before it does what is named, and with `after` also before its answer is heard."""
        for name in dict.fromkeys((*before, *after)):
            gate = self._gated(
                getattr(part, name), f"{who}: {name}", before=name in before, after=name in after
            )
            setattr(part, name, gate)

    def _gated(
        self, act: Callable[..., Awaitable[Any]], name: str, *, before: bool, after: bool
    ) -> Callable[..., Awaitable[Any]]:
        @wraps(act)
        async def gated(*args: Any, **kwargs: Any) -> Any:
            if before:
                await self.at(name)
            try:
                return await act(*args, **kwargs)
            finally:
                if after:
                    await self.at(f"{name} answered")

        return gated

    async def race(self, *sides: Callable[[], Awaitable[object]]) -> None:
        """Run the sides against each other until they have ended and nobody stands at a gate."""
        self._closed, self._over = True, asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as running:
            tasks = [running.create_task(_run(side)) for side in sides]
            self._ended = lambda: all(task.done() for task in tasks)
            await self._over
        self._closed = False

    def open_one(self) -> bool:
        """Open the gate that the schedule names, after its end one that is drawn, or the first; False when nobody stands at any."""
        if not self._closed:
            return False
        waiting = [one for one in self._waiting if not one[1].done()]
        if waiting:
            if len(self.choices) >= MOST_STEPS:
                raise Stuck("it goes round in circles")
            place = len(self.choices)
            beyond = self._draw.randrange(len(waiting)) if self._draw else 0
            number = self._schedule[place] if place < len(self._schedule) else beyond
            name, opened = waiting[number]
            self.choices.append(Choice(name, number, len(waiting)))
            opened.set_result(None)
        elif self._ended() and not self._over.done():
            self._over.set_result(None)
        else:
            return False
        return True


async def _run(side: Callable[[], Awaitable[object]]) -> None:
    await side()


Play = Callable[[Gates], Awaitable[None]]
"""One race from its first row to the look at what came of it; it asserts."""


@dataclass
class Explored:
    """How many interleavings of one race were run. `broken`: each that broke a promise, and how."""

    interleavings: int = 0
    broken: list[str] = field(default_factory=list)


def explore(play: Play, *, until_broken: bool = False) -> Explored:
    """Run every interleaving of a race, or up to the first that breaks a promise."""
    explored = Explored()
    schedule: list[int] | None = []
    while schedule is not None:
        gates = Gates(schedule)
        _try(play, gates, explored)
        explored.interleavings += 1
        if until_broken and explored.broken:
            break
        schedule = _next(gates.choices)
    return explored


def sample(play: Play, tries: int, draw: Random) -> Explored:
    """Draw so many interleavings of a race and run them; those that come again count once."""
    explored, seen = Explored(), set()
    for _ in range(tries):
        gates = Gates(draw=draw)
        _try(play, gates, explored)
        seen.add(tuple(choice.number for choice in gates.choices))
    explored.interleavings = len(seen)
    return explored


def _try(play: Play, gates: Gates, explored: Explored) -> None:
    try:
        run(play, gates)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - whatever went wrong, it went wrong here
        order = " > ".join(choice.gate for choice in gates.choices)
        explored.broken.append(f"{order}: {_words(error)}")


def run(play: Play, gates: Gates) -> None:
    """One interleaving; whoever still runs afterwards broke a promise too."""

    async def whole() -> None:
        clockwork.open_gate = gates.open_one
        await play(gates)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left waiting: {left}"

    clockwork = Clockwork()
    with no_threads(), asyncio.Runner(loop_factory=lambda: clockwork) as runner:
        try:
            runner.run(whole())
        finally:
            clockwork.open_gate = lambda: False
            gates._closed = False


def _next(choices: Sequence[Choice]) -> list[int] | None:
    """The first schedule that was not run yet: the last choice that can still be made otherwise."""
    for place in reversed(range(len(choices))):
        if choices[place].number + 1 < choices[place].among:
            return [choice.number for choice in choices[:place]] + [choices[place].number + 1]
    return None


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(one) for one in error.exceptions)
    return f"{type(error).__name__}: {error}"
