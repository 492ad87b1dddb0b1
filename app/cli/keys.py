"""Keys and the audit log, from the command line: on the data folder, whether a server runs on it or not."""

from __future__ import annotations

import json
import os
import pwd
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.access.credential import Credential, read
from app.access.scopes import ALL, scopes_of
from app.cli.options import AsJson, Assignments, ConfigFile, DataFolder, say, settings_of
from app.errors import InvalidRequest
from app.settings import Settings

if TYPE_CHECKING:  # database code, which `--help` should not wait for
    from app.access.access import Access
    from app.access.audit import AuditEntry
    from app.access.keys import Key

T = TypeVar("T")
DAY = 86_400.0


def key_new(
    *,
    name: Annotated[
        str, typer.Option(help="Whose it is: a new key of the same name takes over from an old one.")
    ],
    scope: Annotated[list[str], typer.Option(help=f"What it allows: {', '.join(ALL.words)}; repeatable.")],
    expires_in: Annotated[
        int | None,
        typer.Option(
            help="Days until it ends; without it, when it is revoked.", min=1, max=36_500, show_default=False
        ),
    ] = None,
    from_stdin: Annotated[
        bool, typer.Option("--from-stdin", help="Let in a key that was made for another provider.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
) -> None:
    """Make a key and print it: this once, for only its hash is kept."""
    scopes = scopes_of(scope)
    given = _given() if from_stdin else None
    seconds = None if expires_in is None else expires_in * DAY
    settings, _ = settings_of(config, assignments, data)
    key, credential = _on(
        settings,
        lambda access: access.keys.create(name, scopes, expires_in=seconds, by=_person(), credential=given),
    )
    if given is not None:
        say(f"The key {key.id} is let in here as {name}, to {', '.join(scopes.words)}.")
        return
    print(json.dumps({**_row(key), "key": credential.text}) if as_json else credential.text)
    ends = "until it is revoked" if key.expires_at is None else f"until {_moment(key.expires_at)}"
    say(f"This is shown only once. It allows {name} to {', '.join(scopes.words)}, {ends}.")
    say(f"Send it as `Authorization: Bearer …`; `key revoke {key.id}` ends it.")
    if not settings.auth.enabled:
        say("A server on this folder asks for keys once it runs with auth.enabled = true.")


def _given() -> Credential:
    credential = read(sys.stdin.readline().strip().encode())
    if credential is None:
        raise InvalidRequest("What stands on stdin is no key; one looks like juxta_<id>_<secret>.")
    return credential


def key_ls(
    *,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
) -> None:
    """List keys, without their secrets."""
    settings, _ = settings_of(config, assignments, data)
    _print("keys", [_row(key) for key in _on(settings, lambda access: access.keys.all())], as_json=as_json)


def key_revoke(
    id_or_name: Annotated[str, typer.Argument(help="Of the key; a name ends every key of that name.")],
    *,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
) -> None:
    """End a key; a running server refuses it within two seconds."""
    settings, _ = settings_of(config, assignments, data)
    for key in _on(settings, lambda access: access.keys.revoke(id_or_name, by=_person())):
        say(f"Revoked: {key.id} of {key.name}.")


def audit_ls(
    *,
    limit: Annotated[int, typer.Option(help="At most so many rows, the latest.", min=1)] = 50,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
) -> None:
    """List what operators did, and who was refused."""
    settings, _ = settings_of(config, assignments, data)
    entries = _on(settings, lambda access: access.audit.latest(limit))
    if as_json:
        print(json.dumps([_entry(entry) for entry in entries]))
        return
    # on 80 columns an id is whole and actions can be told apart
    table = Table(title=f"{len(entries)} entries; times are UTC, --json has more", title_justify="left")
    table.add_column("at", no_wrap=True)
    table.add_column("who", overflow="fold")
    table.add_column("action, on what", overflow="fold", min_width=len(str(UUID(int=0))))
    table.add_column("outcome", no_wrap=True)
    for entry in entries:
        about = "\n".join(filter(None, (_short_action(entry.action), entry.target, entry.detail)))
        at = _short("at", _moment(entry.at))
        table.add_row(at, Text(entry.principal), Text(about), str(entry.outcome))
    Console().print(table)


def _short_action(action: str) -> str:
    """Without what all addresses of the API begin with, and the names of ids that follow anyway."""
    return re.sub(r"{[^}]*}", "…", action.replace(" /api/v1/", " …/"))


def _on(settings: Settings, work: Callable[[Access], Awaitable[T]]) -> T:
    from app.cli import stores  # noqa: PLC0415 - opens databases; `--help` should not wait for that code

    return anyio.run(stores.with_access, settings, work)


def _person() -> str:
    """Who types, as the system knows them; the colon keeps it apart from names of keys."""
    try:
        return f"os:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"os:{os.getuid()}"


def _print(title: str, rows: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(title=f"{len(rows)} {title}", title_justify="left")
    for column in rows[0] if rows else ():
        table.add_column(column, no_wrap=column in {"id", "at"})
    for row in rows:
        table.add_row(*(Text(_short(name, value)) for name, value in row.items()))
    Console().print(table)


def _short(column: str, value: object) -> str:
    text = "" if value is None else str(value)
    return text[:16].replace("T", " ") if column == "at" or column.endswith("_at") else text


def _row(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": " ".join(key.scopes.words),
        "created_at": _moment(key.created_at),
        "expires_at": _moment(key.expires_at),
        "revoked_at": _moment(key.revoked_at),
        "last_used_at": _moment(key.last_used_at),
    }


def _entry(entry: AuditEntry) -> dict[str, object]:
    return asdict(entry) | {"at": _moment(entry.at), "outcome": str(entry.outcome)}


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
