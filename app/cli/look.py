"""Commands that only look: the way of one comparison, the queue, the settings, the health of an installation."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.options import AsJson, Assignments, ConfigFile, DataFolder, Role, settings_of, uuid_named
from app.cli.running import Key, asking_all
from app.errors import InvalidRequest, JuxtaError
from app.lock import locked
from app.provider.queue.protocol import Entry, State
from app.settings import Settings

if TYPE_CHECKING:
    from app.trace import Step

FREE_BYTES = 500_000_000
OLDEST_SQLITE = (3, 38, 0)


def trace(
    correlation_id: Annotated[
        str,
        typer.Argument(
            help="Of the comparison, as the API and the exports of a server give it.",
            callback=uuid_named("correlation_id"),
        ),
    ],
    *,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid sequence diagram.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
) -> None:
    """Show the way of one comparison, from plan to score."""
    wanted = UUID(correlation_id)
    from app.cli import stores  # noqa: PLC0415 - opens databases; `--help` should not wait for that code
    from app.trace import mermaid, steps  # noqa: PLC0415 - as above

    settings, _ = settings_of(config, assignments, data)
    comparison, entry = anyio.run(stores.both_halves, settings, wanted)
    found = steps(comparison, entry)
    if as_mermaid:
        print(mermaid(found))
    elif as_json:
        print(json.dumps([_fields(step) for step in found]))
    else:
        _print_steps(
            f"{comparison.essay_a} against {comparison.essay_b}" if comparison else str(wanted), found
        )


def _fields(step: Step) -> dict[str, object]:
    return {"at": _moment(step.at), "actor": step.actor, "to": step.to, "words": step.words}


def _print_steps(title: str, found: list[Step]) -> None:
    table = Table(title=Text(title), title_justify="left")
    for column in ("time", "after", "from", "to", "what"):
        table.add_column(column, justify="right" if column == "after" else "left")
    for step in found:
        table.add_row(
            _moment(step.at), f"{step.at - found[0].at:.3f} s", step.actor, step.to, Text(step.words)
        )
    Console().print(table)


def queue_ls(
    *,
    lane: Annotated[
        str | None, typer.Option(help="Only this judge configuration.", show_default=False)
    ] = None,
    state: Annotated[State | None, typer.Option(help="Only this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="At most so many rows.", min=1)] = 50,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
) -> None:
    """List requests in the provider's queue; without --state those that are not finished."""
    from app.cli import stores  # noqa: PLC0415 - as in `trace`

    settings, _ = settings_of(config, assignments, data)
    entries, total = anyio.run(stores.entries, settings, lane, state, limit)
    if as_json:
        print(json.dumps([_row(entry) for entry in entries]))
        return
    shown = f"{len(entries):,}" if total in {None, len(entries)} else f"{len(entries):,} of {total:,}"
    table = Table(title=f"{shown} requests; times are UTC, --json has more", title_justify="left")
    for column in ("state", "lane", "accepted", "correlation_id, queue_id"):  # what fits into 80 columns
        table.add_column(column, no_wrap=column != "lane", overflow="fold")
    for entry in entries:
        accepted = datetime.fromtimestamp(entry.accepted_at, UTC).strftime("%m-%d %H:%M")
        table.add_row(str(entry.state), entry.lane, accepted, f"{entry.correlation_id}\n{entry.queue_id}")
    Console().print(table)


def _row(entry: Entry) -> dict[str, object]:
    return {
        "state": str(entry.state),
        "lane": entry.lane,
        "place": entry.place,
        "tries": entry.tries,
        "reply": str(entry.reply),
        "outcome": str(entry.outcome) if entry.outcome else None,
        "accepted": _moment(entry.accepted_at),
        "expires": _moment(entry.expires_at),
        "correlation_id": str(entry.correlation_id),
        "queue_id": str(entry.queue_id),
    }


def config_show(
    *,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
) -> None:
    """Print every setting in force and where it comes from."""
    settings, sources = settings_of(config, assignments, data)
    rows = list(_flat(settings.model_dump(mode="json")))
    if as_json:
        print(
            json.dumps({key: {"value": value, "source": sources.get(key)} for key, value in rows}, indent=1)
        )
        return
    table = Table("setting", "value", "from")
    for key, value in rows:
        table.add_row(key, json.dumps(value), sources.get(key, ""))
    Console().print(table)


def _flat(tree: dict[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def doctor(
    *,
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="Ask a running server instead: what is stuck there, and why? Repeatable, for roles apart.",
            show_default=False,
        ),
    ] = None,
    key: Key = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
    role: Role = None,
) -> None:
    """Check whether Juxta can run here, or how a running server is; say what to do where something is wrong.

    With --role it is checked as that role would start.
    """
    if url:
        from app.cli.stuck import examine  # noqa: PLC0415 - as in `trace`

        sys.exit(1 if asking_all(url, key, examine) else 0)
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("Python", lambda _: platform.python_version()),
        ("SQLite", _sqlite),
        ("settings", lambda s: f"role {s.role}, bus {s.bus.kind}, queue {s.queue.kind}"),
        ("judges", _judges),
        ("keys of language models", _keys),
        ("data folder", _data_folder),
        ("disk", _disk),
    ]
    failed = 0
    try:
        asked = [*(assignments or []), *([f"role={role}"] if role is not None else [])]
        settings, _ = settings_of(config, asked, data, serving=role is not None)
    except JuxtaError as error:
        print(f"fault  settings: {error.detail}")
        sys.exit(1)
    for name, check in checks:
        try:
            print(f"ok     {name}: {check(settings)}")
        except JuxtaError as error:
            failed += 1
            print(f"fault  {name}: {error.detail}")
    failed += anyio.run(_engines, settings)
    sys.exit(1 if failed else 0)


async def _engines(settings: Settings) -> int:
    from app.engines import reach  # noqa: PLC0415 - slow to import

    failed = 0
    async for name, said in reach(settings):
        if isinstance(said, JuxtaError):
            failed += 1
            print(f"fault  {name}: {said.detail} {said.hint}")
        else:
            print(f"ok     {name}: {said}")
    return failed


def _sqlite(_settings: Settings) -> str:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise InvalidRequest(
            f"this Python carries SQLite {sqlite3.sqlite_version}; {oldest} or newer is needed"
        )
    return sqlite3.sqlite_version


def _judges(settings: Settings) -> str:
    from app.judges import judges  # noqa: PLC0415 - slow to import
    from app.provider.judges.llm.http import ModelClient  # noqa: PLC0415

    return ", ".join(judges(settings, ModelClient))


def _keys(settings: Settings) -> str:
    """Whether there are keys; never one of them."""
    return ", ".join(
        f"{name} {'present' if section.key.get_secret_value().strip() else 'absent'}"
        for name, section in settings.judges.llm.items()
    )


def _data_folder(settings: Settings) -> str:
    folder = settings.data if settings.data.exists() else settings.data.resolve().parent
    if not os.access(folder, os.W_OK):
        raise InvalidRequest(f"{folder} cannot be written; choose another with --data")
    if not settings.data.exists():
        return f"{settings.data.resolve()} will be made"
    with ExitStack() as stack:
        for part in settings.parts:
            stack.enter_context(locked(settings.data, part, shared=settings.shares(part)))
        return f"{settings.data.resolve()} is free"


def _disk(settings: Settings) -> str:
    folder = settings.data if settings.data.exists() else Path()
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise InvalidRequest(f"only {free / 1e6:.0f} MB are free; Juxta answers 503 when the disk is full")
    return f"{free / 1e9:.1f} GB free"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
