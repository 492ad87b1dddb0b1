"""`python run.py`: everything in one process, ready in seconds, nothing to install."""

from __future__ import annotations

import tempfile
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from app.cli.options import (
    Assignments,
    BaseUrl,
    ConfigFile,
    DataFolder,
    Judge,
    Model,
    Role,
    judge_settings,
    place_of,
    settings_of,
    talk,
)
from app.errors import ConfigurationError
from app.settings import Settings

JUDGES = {
    "rules": "rules (offline; weighs text features, reads no meaning; to learn the tool, not to grade pupils)",
    "simulated": "simulated (looks up given scores; for experiments)",
}


def serve(
    context: typer.Context,
    *,
    config: ConfigFile = None,
    assignments: Assignments = None,
    data: DataFolder = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; the next free one if taken.", show_default=False)
    ] = None,
    role: Role = None,
    judge: Judge = None,
    model: Model = None,
    base_url: BaseUrl = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing after the end.")] = False,
    demo: Annotated[bool, typer.Option(help="Load the example essays into an empty data folder.")] = True,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the settings and exit.")] = False,
) -> None:
    """Rank essays by comparative judgement. Without a command: serve on http://127.0.0.1:8000.

    The examples are loaded only where everything runs in one process.
    """
    if context.invoked_subcommand is not None:
        _refuse_misplaced(context)
        return
    named = {"http.host": host, "http.port": port, "role": role}
    shorthand = [f"{key}={value}" for key, value in named.items() if value is not None]
    shorthand += judge_settings(judge, model, base_url)
    with ExitStack() as stack:
        if ephemeral:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="juxta-")))
        settings, _ = settings_of(config, [*(assignments or []), *shorthand], data, serving=True)
        if check:
            talk.print("The settings are sound.")
            return
        from app.container import bootstrap  # noqa: PLC0415 - half a second of imports that other commands do not need
        from app.server import serve as serve_http  # noqa: PLC0415

        def ready(url: str) -> None:
            talk.print(_panel(settings, url, ephemeral=ephemeral))
            if open_browser:
                webbrowser.open(url)

        serve_http(bootstrap(settings), ready=ready, demo=demo and settings.role == "all")
        talk.print("Stopped. Nothing is lost." if not ephemeral else "Stopped.")


def _refuse_misplaced(context: typer.Context) -> None:
    """What stands before a command is for serving; taken in silence, a key would be made in another folder."""
    given = [
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    ]
    if given:
        raise ConfigurationError(
            f"Options before a command are for serving alone ({', '.join(given)}); "
            f"write them behind it: run.py {context.invoked_subcommand} … --data FOLDER"
        )


def _panel(settings: Settings, url: str, *, ephemeral: bool) -> Panel:
    table = Table.grid(padding=(0, 2))
    pace = settings.judges.rules.pace if settings.serves_provider else 0
    on_kafka = settings.bus.kind == "kafka"
    for name, value in (
        ("Open" if settings.serves_cj else "Listens", f"[bold link={url}]{url}[/]"),
        (
            "Role",
            {"all": "", "provider": "provider: judges", "cj": "cj: batches, ranking, pages"}[settings.role],
        ),
        ("Judge", _judge(settings)),
        ("Pace", f"{pace:g} s a comparison, so that you can watch (judges.rules.pace)" if pace else ""),
        ("Provider", "" if settings.serves_provider else ", ".join(settings.cj.provider_urls)),
        ("Database", _database(settings, ephemeral=ephemeral)),
        ("Bus", f"Kafka at {settings.kafka.servers}" if on_kafka else "in this process (memory)"),
        ("Queue", _queue(settings) if settings.serves_provider else ""),
        ("", "Ctrl-C: nothing is lost" if not ephemeral else "Ctrl-C: everything is forgotten (--ephemeral)"),
    ):
        if value:
            table.add_row(name, value)
    return Panel(table, title="Juxta is ready", expand=False)


def _judge(settings: Settings) -> str:
    """Who judges by default, what it is, and what is known of its cost."""
    name = settings.judges.default
    section = settings.judges.llm.get(name)
    if section is None:
        return JUDGES[name]
    where = section.base_url.rstrip("/")
    who = escape(f"{section.models[0]} (an AI, by {name} at {where}; essays are sent there)")
    if not settings.serves_provider:
        return who
    from app.language_models import language_models  # noqa: PLC0415 - slow to import, and it is loaded by now

    price = language_models(settings)[name][0].price
    return f"{who}\n{price.words if price else 'its price is unknown, and so is what judging costs'}"


def _database(settings: Settings, *, ephemeral: bool) -> str:
    if settings.database.kind == "postgresql":
        return f"PostgreSQL at {place_of(settings.database.url)}"
    return f"SQLite in {'a temporary folder' if ephemeral else settings.data.resolve()}"


def _queue(settings: Settings) -> str:
    if settings.queue.kind == "redis":
        return f"Redis at {place_of(settings.redis.url)}, shared by providers"
    return "in the database, shared by providers" if settings.shares_queue else "in provider.db"
