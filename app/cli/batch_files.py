"""Commands that ask a running server for what the statistics make of a batch: `what-if` and `export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.batches import BatchId
from app.cli.options import AsJson, OnOff, say
from app.cli.running import URL, Key, Url, asking
from app.errors import InvalidRequest

Left = list[str] | None


def what_if(
    batch: BatchId,
    *,
    without_judge: Annotated[
        list[int] | None,
        typer.Option(help="Its number, from 0; repeatable.", show_default=False, min=0),
    ] = None,
    without_essay: Annotated[Left, typer.Option(help="Its name; repeatable.", show_default=False)] = None,
    without_anchor: Annotated[
        Left, typer.Option(help="Forget the known grade of this essay; repeatable.", show_default=False)
    ] = None,
    position_term: Annotated[
        OnOff, typer.Option(help="off: take the verdicts as they are, with their bias.")
    ] = "on",
    scale: Annotated[
        str | None, typer.Option(help="Grades on this scale, by its file name.", show_default=False)
    ] = None,
    url: Url = URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show the ranking as it would be without a judge, an essay, an anchor or the position term; nothing is changed."""
    if position_term == "on" and not (without_judge or without_essay or without_anchor):
        raise InvalidRequest(
            "Nothing is left out, so the ranking is as it is.",
            hint="Say --without-judge, --without-essay, --without-anchor or --position-term off.",
        )
    asked = {
        "without_judges": without_judge or [],
        "without_essays": without_essay or [],
        "without_anchors": without_anchor or [],
        "position_term": position_term == "on",
        "scale": scale,
    }
    found = asking(url, key, lambda server: server.post(f"/api/v1/batches/{batch}/what-if", asked))
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    Console().print(_table(found))
    for name in ("before", "after"):
        side = found[name]
        reliability = "none" if side["reliability"] is None else f"{side['reliability']:.2f}"
        say(f"{name}: {side['verdicts']} verdicts, reliability {reliability} (empirical Bayes)")
        if found["scale"] is not None and side["ungraded"]:
            say(f"{name}: {side['ungraded']}")
    say(
        "change: of the score in logits beside the mean of the essays that are left; both columns of scores have mean 0"
    )
    say("The batch itself is as it was.")


def _table(found: dict[str, Any]) -> Table:
    graded = found["scale"] is not None
    table = Table(title="Ranking, and what it would be", title_justify="left")
    for name in ("rank", "essay", "score", "would be rank", "score", "change", *(("grade",) * graded)):
        table.add_column(name, justify="left" if name in {"essay", "grade"} else "right")
    for row in found["essays"]:
        old, new = row["before"], row["after"]
        cells = ["-", "left out", ""]
        if new is not None:
            rise = row["rise"]
            moved = f" ({'▲' if rise > 0 else '▼'} {abs(rise)})" if rise else ""
            cells = [f"{new['rank']}{moved}", f"{new['score']:+.2f}", f"{row['score_change']:+.2f}"]
        grades = [_grades(old, new)] if graded else []
        table.add_row(str(old["rank"]), Text(row["essay"]), f"{old['score']:+.2f}", *cells, *grades)
    return table


def _grades(old: dict[str, Any], new: dict[str, Any] | None) -> str:
    before, after = old["grade"] or "-", (new or {}).get("grade") or "-"
    return before if before == after or new is None else f"{before} → {after}"


def export(
    batch: BatchId,
    *,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; without it BATCH.zip here.", show_default=False)
    ] = None,
    as_: Annotated[Literal["bundle"], typer.Option("--format", help="What to write.")] = "bundle",
    url: Url = URL,
    key: Key = None,
) -> None:
    """Keep a batch as evidence: every comparison, settings, versions and hashes; `fit --bundle` makes its scores again."""
    content = asking(url, key, lambda server: server.download(f"/api/v1/batches/{batch}/export", format=as_))
    file = out or Path(f"{batch}.zip")
    try:
        file.write_bytes(content)
    except OSError as error:
        raise InvalidRequest(f"--out {file}: cannot be written ({error.strerror}).") from error
    say(f"wrote {file}")
