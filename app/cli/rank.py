"""`python run.py rank`: essays in, ranking out, through the same road as the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import AsJson, Assignments, BaseUrl, ConfigFile, Judge, Model, judge_settings
from app.errors import InvalidRequest

QUICK = ("judges.rules.pace=0", "judges.rules.concurrency=8")
"""Nobody watches: the rules judge need not be slow."""


def rank(
    paths: Annotated[list[Path], typer.Argument(help="Essays: folders, or txt, md, zip and csv files.")],
    *,
    question: Annotated[
        str | None,
        typer.Option(
            help="What judges are asked, or @file; else question.txt beside the essays.", show_default=False
        ),
    ] = None,
    judge: Judge = None,
    model: Model = None,
    base_url: BaseUrl = None,
    per_essay: Annotated[
        int | None, typer.Option(help="Comparisons per essay, at most.", show_default=False)
    ] = None,
    reliability: Annotated[
        float | None, typer.Option(help="Stop when this is reached.", show_default=False)
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Stop at this cost in USD.", min=0.000001, show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the pairing: the same seed asks the same pairs.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for ranking.csv, ranking.json, report.html, judgements.csv.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Judge and rank essays once, here, and print the ranking."""
    from app.cli import ranking  # noqa: PLC0415 - the whole house; `--help` should not wait for it

    if question and question.startswith("@"):
        question = _text(Path(question[1:]))
    named = {
        "cj.comparisons_per_essay": per_essay,
        "cj.target_reliability": reliability,
    }
    chosen = [
        *QUICK,
        *(assignments or []),
        *judge_settings(judge, model, base_url),
        *(f"{key}={value}" for key, value in named.items() if value is not None),
    ]
    ranking.run(
        paths,
        question=question,
        config=config,
        assignments=chosen,
        seed=seed,
        budget=budget,
        out=out,
        as_json=as_json,
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"--question @{file}: cannot be read ({error}).") from error
