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
from app.contracts import ModelInfo, ProviderTest, UsageReport
from app.errors import NotFound
from app.settings import Settings


def models(*, as_json: AsJson = False, config: ConfigFile = None, assignments: Assignments = None) -> None:
    """List the language models that are known, with their prices and the days on which these were read."""
    from app.language_models import known_models  # noqa: PLC0415 - slow to import

    settings, _ = settings_of(config, assignments)
    known = known_models(settings)
    if as_json:
        print(json.dumps([info.model_dump(mode="json") | {"offered": offered} for info, offered in known]))
        return
    table = Table(title="Language models; US dollars a million tokens", title_justify="left")
    for column in (
        "provider",
        "model",
        "offered",
        "prompt",
        "completion",
        "cached",
        "read on",
        "context",
        "efforts",
    ):
        table.add_column(column, no_wrap=column == "model")
    for info, offered in known:
        table.add_row(*map(Text, _cells(info, offered=offered)))
    Console().print(table)


def _cells(info: ModelInfo, *, offered: bool) -> tuple[str, ...]:
    price = info.price
    prices = (
        (price.prompt, price.completion, price.cached, price.on)
        if price
        else ("unknown", "unknown", None, None)
    )
    shown = (
        info.provider,
        info.model,
        "yes" if offered else "",
        *prices,
        info.context_tokens,
        " ".join(info.efforts),
    )
    return tuple("" if value is None else str(value) for value in shown)


def providers_test(
    name: Annotated[str, typer.Argument(help="A judge: openai, anthropic, google, rules or simulated.")],
    *,
    model: Model = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Ask a provider whether it takes the key, in a way that costs nothing."""
    named = judge_settings(name, model, base_url) if model or base_url else []
    settings, _ = settings_of(config, [*(assignments or []), *named])
    known = ["rules", *(["simulated"] if settings.judges.simulated.scores else []), *settings.judges.llm]
    if name not in known:
        raise NotFound(f"There is no judge {name!r} here; there are: {', '.join(known)}.")
    found = anyio.run(_ask, settings, name)
    if as_json:
        print(found.model_dump_json())
    else:
        section = settings.judges.llm.get(name)
        missing = f" It does not list {', '.join(found.missing)}." if found.missing else ""
        print(f"{name}{f' at {section.base_url}' if section else ''}: {found.words}{missing}")
    if not found.ok:
        sys.exit(5)


async def _ask(settings: Settings, name: str) -> ProviderTest:
    from app.language_models import probe, require_key  # noqa: PLC0415 - slow to import
    from app.provider.judges.llm.http import ModelClient  # noqa: PLC0415
    from app.provider.status import tested  # noqa: PLC0415

    if name not in settings.judges.llm:
        return await tested(name, None, ())
    require_key(settings, name)
    async with ModelClient() as client:
        return await tested(name, probe(settings, name, client), settings.judges.llm[name].models)


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
