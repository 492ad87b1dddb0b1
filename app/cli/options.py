"""Options that several commands share, and the settings they make."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

import structlog
import typer
from pydantic import SecretStr
from rich.console import Console

from app.errors import ConfigurationError
from app.settings import VENDORS, Settings, Sources, load

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
Role = Annotated[str | None, typer.Option(help="all, provider or cj.", show_default=False)]
Judge = Annotated[
    str | None,
    typer.Option(help="rules, simulated, openai, anthropic or google.", show_default=False),
]
Model = Annotated[str | None, typer.Option(help="Of the language models the one to ask.", show_default=False)]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Where they are, when not at their vendor: http://127.0.0.1:11434/v1", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
OnOff = Literal["on", "off"]

talk = Console(stderr=True)
"""People are spoken to on stderr; stdout is for data."""


def uuid_named(what: str) -> Callable[[str], str]:
    """The callback of an argument that is a UUID; what is none is a fault of usage."""

    def checked(value: str) -> str:
        try:
            return str(UUID(value))
        except ValueError:
            raise typer.BadParameter(
                f"{value!r} is no {what}; one looks like 7c9e6679-7425-40de-944b-e07fc1f90ae7"
            ) from None

    return checked


def say(words: str) -> None:
    """Tell people something, on stderr, without colours or breaks of ours."""
    talk.print(words, highlight=False, markup=False, soft_wrap=True)


def place_of(url: SecretStr) -> str:
    """Host, port and name of an engine, without user and password."""
    parts = urlsplit(url.get_secret_value())
    return parts.netloc.rpartition("@")[2] + parts.path


def judge_settings(judge: str | None, model: str | None, base_url: str | None) -> list[str]:
    """The settings that --judge, --model and --base-url stand for.

    :raises ConfigurationError: a model or an address without a judge that takes one.
    """
    named = [f"judges.default={judge}"] if judge is not None else []
    if model is None and base_url is None:
        return named
    if judge not in VENDORS:
        raise ConfigurationError(
            f"--model and --base-url go with --judge {', '.join(VENDORS)}; given is --judge {judge or '(none)'}"
        )
    if model is not None:
        named.append(f"judges.{judge}.models={json.dumps([model])}")
    if base_url is not None:
        named.append(f"judges.{judge}.base_url={json.dumps(base_url)}")
    return named


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
        logger_factory=lambda *_: _Log(sys.stderr),
    )
    logging.basicConfig(level=level)


class _Log(structlog.PrintLogger):
    """A line that cannot be written is lost, and nothing else.

    A full disk under the log, or a pipe whose reader has died, ended the process in the midst of its work.
    """

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg
