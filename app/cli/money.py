"""Commands about language models: which are known, whether their providers answer, what was spent on them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.options import (
    AsJson,
    Assignments,
    BaseUrl,
    ConfigFile,
    DataFolder,
    Model,
    judge_settings,
    say,
    settings_of,
)
from app.contracts import UsageReport
from app.errors import NotFound
from app.settings import Settings


def models(*, as_json: AsJson = False, config: ConfigFile = None, assignments: Assignments = None) -> None:
    """List the language models that are known, with their prices and the days on which these were read."""
    from app.judges import known_models  # noqa: PLC0415 - slow to import

    settings, _ = settings_of(config, assignments)
    rows = [
        {
            "provider": provider,
            "model": model.name,
            "offered": offered,
            "prompt": model.price.prompt if model.price else None,
            "completion": model.price.completion if model.price else None,
            "cached": model.price.cached if model.price else None,
            "read_on": str(model.price.on) if model.price and model.price.on else None,
            "context_tokens": model.context_tokens,
            "efforts": " ".join(model.efforts),
        }
        for provider, model, offered in known_models(settings)
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(title="Language models; US dollars a million tokens", title_justify="left")
    for column in rows[0] if rows else ():
        table.add_column(column, no_wrap=column == "model")
    for row in rows:
        table.add_row(*(Text(_cell(name, value)) for name, value in row.items()))
    Console().print(table)


def _cell(column: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if value is None:
        return "unknown" if column in {"prompt", "completion"} else ""
    return str(value)


def providers_test(
    name: Annotated[str, typer.Argument(help="openai, anthropic or google.")],
    *,
    model: Model = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Ask a provider of language models whether it takes the key, in a way that costs nothing."""
    named = judge_settings(name, model, base_url) if model or base_url else []
    settings, _ = settings_of(config, [*(assignments or []), *named])
    if name not in settings.judges.llm:
        raise NotFound(f"There is no provider {name!r} to ask; there are: {', '.join(settings.judges.llm)}.")
    found = anyio.run(_ask, settings, name)
    if as_json:
        print(json.dumps(found))
    else:
        print(f"{name} at {settings.judges.llm[name].base_url}: {found['words']}")
    if not found["ok"]:
        sys.exit(5)


async def _ask(settings: Settings, name: str) -> dict[str, object]:
    from app.judges import probe, require_key  # noqa: PLC0415 - slow to import
    from app.provider.judges.llm.http import ModelClient  # noqa: PLC0415
    from app.provider.judges.protocol import JudgeError  # noqa: PLC0415

    require_key(settings, name)
    async with ModelClient() as client:
        try:
            found = await probe(settings, name, client).look()
        except JudgeError as error:
            return {"ok": False, "words": error.detail}
    offered = settings.judges.llm[name].models
    missing = [] if found.models is None else [model for model in offered if model not in found.models]
    words = found.words + (f" It does not list {', '.join(missing)}." if missing else "")
    return {"ok": True, "words": words, "missing": missing, "seconds": round(found.seconds, 3)}


def usage(
    *,
    days: Annotated[int, typer.Option(help="The last so many days (UTC), today included.", min=1)] = 30,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
) -> None:
    """Show what was spent on language models: by day, by who asked, by model."""
    from app.cli import stores  # noqa: PLC0415 - opens databases; `--help` should not wait for that code

    settings, _ = settings_of(config, assignments, data)
    found = anyio.run(stores.usage, settings, days)
    if as_json:
        print(found.model_dump_json())
        return
    _print_usage(found)


def _print_usage(found: UsageReport) -> None:
    table = Table(title="Spent on language models", title_justify="left")
    for column in ("day", "who", "model", "calls", "verdicts", "tokens in", "of these cached", "out", "USD"):
        table.add_column(
            column, justify="left" if column in {"day", "who", "model"} else "right", no_wrap=column == "day"
        )
    for row in found.rows:
        known = f"{row.cost_usd:.4f}"
        cost = (
            known if not row.unpriced else "unknown" if row.unpriced == row.calls else f"{known} and unknown"
        )
        table.add_row(
            str(row.day),
            Text(row.principal),
            Text(f"{row.provider}/{row.model}"),
            *(str(n) for n in (row.calls, row.verdicts, row.prompt_tokens, row.cached_tokens)),
            str(row.completion_tokens),
            cost,
        )
    Console().print(table)
    unpriced = sum(row.unpriced for row in found.rows)
    without = f", without {unpriced} calls whose price is unknown" if unpriced else ""
    say(f"{found.cost_usd:.4f} USD together{without}. Now it is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.")
