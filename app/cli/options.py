"""Options that several commands share, and the settings they make."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import structlog
import typer
from pydantic import SecretStr
from rich.console import Console

from app.settings import Settings, Sources, load

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of settings.", show_default=False)
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, as key.sub=value; repeatable.", show_default=False),
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the databases.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

talk = Console(stderr=True)
"""People are spoken to on stderr; stdout is for data."""


def say(words: str) -> None:
    """Tell people something, on stderr, without colours or breaks of ours."""
    talk.print(words, highlight=False, markup=False, soft_wrap=True)


def place_of(url: SecretStr) -> str:
    """Host, port and name of an engine, without user and password."""
    parts = urlsplit(url.get_secret_value())
    return parts.netloc.rpartition("@")[2] + parts.path


def settings_of(
    config: Path | None, assignments: list[str] | None, data: Path | None = None, *, serving: bool = False
) -> tuple[Settings, Sources]:
    """Load the settings these options ask for, and set up logging by them."""
    extra = [f"data={data}"] if data is not None else []
    settings, sources = load(config, [*(assignments or []), *extra], serving=serving)
    configure_logging(settings)
    return settings, sources


def configure_logging(settings: Settings) -> None:
    """Log to stderr, as text or JSON; never essays, never secrets."""
    level = getattr(logging, settings.log.level.upper())
    as_json = settings.log.format == "json"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=level)
