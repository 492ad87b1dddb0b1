"""`dead-letters ls|show|redrive`: what could not be handled, on the bus of a running server."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from app.cli.options import AsJson, say
from app.cli.running import URL, Key, Server, Url, asking, cell, print_table
from app.errors import InvalidRequest

T = TypeVar("T", str, list[str], None)

AT_ONCE = 500
"""Letters in one request: as many as the server takes, and few enough to show progress."""

Topic = Annotated[
    str | None,
    typer.Option(
        help="The topic they died on; the server's callback topic unless named.", show_default=False
    ),
]


def _conditions(given: T) -> T:
    """Find out here what is mistyped: that is a fault of usage."""
    from app.bus.letter import Where  # noqa: PLC0415 - `--help` needs none

    conditions: Sequence[str] = [given] if isinstance(given, str) else given or ()
    for words in conditions:
        try:
            Where.read(words)
        except InvalidRequest as error:
            raise typer.BadParameter(error.detail) from error
    return given


def _place(letter_id: str) -> str:
    from app.bus.letter import place_of  # noqa: PLC0415 - as above

    try:
        place_of(letter_id)
    except InvalidRequest as error:
        raise typer.BadParameter(error.detail) from error
    return letter_id


WHERE = "field=text or field~text, on reason, group, error, key or id"


def ls(
    *,
    topic: Topic = None,
    where: Annotated[
        str | None,
        typer.Option(help=f"Only these: {WHERE}.", show_default=False, callback=_conditions),
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=500)] = 50,
    as_json: AsJson = False,
    url: Url = URL,
    key: Key = None,
) -> None:
    """List dead letters that wait, without what they hold."""
    page = asking(
        url, key, lambda server: server.get("/api/v1/dead-letters", topic=topic, where=where, limit=limit)
    )
    letters = page["letters"]
    if as_json:
        print(json.dumps(letters))
        return
    more = ", and more behind them" if page["next"] else ""
    rows = [letter | {"at": _moment(letter["at"])} for letter in letters]
    timed = ("at",) if any(row["at"] for row in rows) else ()  # not every bus knows
    whole = ("id", *timed, "group", "redrives")
    columns = ("id", *timed, "group", "reason", "error", "redrives")
    title = f"Dead letters: {len(letters)}{more}; --json has more"
    print_table(title, rows, columns, whole=whole, cut=("reason", "error"))


def show(
    letter_id: Annotated[
        str, typer.Argument(metavar="ID", help="As `dead-letters ls` gives it.", callback=_place)
    ],
    *,
    topic: Topic = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Also what it holds; the audit log says that you looked.")
    ] = False,
    as_json: AsJson = False,
    url: Url = URL,
    key: Key = None,
) -> None:
    """Show one dead letter."""

    async def look(server: Server) -> dict[str, Any]:
        topics = [topic] if topic else [*(await server.get("/api/v1/dead-letters/topics"))["topics"]]
        place = f"{quote(topics[0], safe='')}/{quote(letter_id, safe='')}"
        return await server.get(f"/api/v1/dead-letters/{place}{'/record' if reveal else ''}")

    found = asking(url, key, look)
    if as_json:
        print(json.dumps(found))
        return
    letter = found["letter"] if reveal else found
    for name, value in (letter | {"at": _moment(letter["at"])}).items():
        print(f"{name:<10} {cell(value)}")
    if reveal:
        for name, value in found["headers"].items():
            print(f"{name}: {value}")
        print(found["body"])


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


@dataclass
class Run:
    """A redrive over several requests: what was sent, or would be."""

    sent: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, answer: dict[str, Any]) -> None:
        """Count one more answer of the server."""
        self.sent += answer["sent"]
        self.reasons.update(answer["reasons"])
        self.refused.update(answer["refused"])


def redrive(
    *,
    topic: Topic = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only these: {WHERE}; repeatable, all must hold.", show_default=False, callback=_conditions
        ),
    ] = None,
    most: Annotated[int, typer.Option("--max", help="At most so many.", min=1)] = 10_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count by reason, send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    url: Url = URL,
    key: Key = None,
) -> None:
    """Send dead letters again, to the topic they died on, after what killed them is mended.

    Interrupted, it goes on where it stopped when it is run again.
    """
    asked = {"topic": topic, "where": where or [], "max": most}
    if dry_run or not yes:
        planned = asking(url, key, lambda server: _run(server, asked, dry_run=True))
        ends_here = dry_run or not planned.sent
        if as_json and ends_here:
            print(json.dumps(vars(planned)))
        elif not as_json:
            _print_plan(planned)
        if ends_here:
            return
        if sys.stdin.isatty() and not typer.confirm(f"Send {planned.sent} again?", err=True):
            return
    done = asking(url, key, lambda server: _run(server, asked, dry_run=False))
    if as_json:
        print(json.dumps(vars(done)))
    say(f"Sent again: {done.sent}. Left where they are: {done.refused.total()}{_why(done.refused)}.")


async def _run(server: Server, asked: dict[str, Any], *, dry_run: bool) -> Run:
    run, cursor = Run(), None
    while run.sent < asked["max"]:
        at_once = min(AT_ONCE, asked["max"] - run.sent)
        answer = await server.post(
            "/api/v1/dead-letters/redrive",
            asked | {"max": at_once, "dry_run": dry_run, "cursor": cursor},
        )
        run.add(answer)
        cursor = answer["next"]
        if cursor is None:
            break
        if not dry_run:
            say(f"Sent so far: {run.sent}.")
    return run


def _print_plan(planned: Run) -> None:
    rows: list[dict[str, Any]] = [
        {"letters": number, "reason": reason} for reason, number in planned.reasons.most_common()
    ]
    if rows:
        print_table(f"To be sent again: {planned.sent}", rows, ("letters", "reason"))
    else:
        say("No dead letter that is meant can be sent again.")
    if planned.refused:
        say(f"Left where they are: {planned.refused.total()}{_why(planned.refused)}.")


def _why(refused: Counter[str]) -> str:
    return f" ({', '.join(f'{number}: {why}' for why, number in refused.most_common())})" if refused else ""
