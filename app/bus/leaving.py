"""How a bus ends the task group it lives on, the same for every bus."""

from __future__ import annotations

from types import TracebackType

from anyio.abc import TaskGroup


async def end_tasks(
    tasks: TaskGroup,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    """Wait for all tasks and raise what they died of; the caller's own error travels on as it was."""
    try:
        await tasks.__aexit__(kind, error, trace)
    except BaseExceptionGroup as group:
        if group.exceptions != (error,):
            raise
