"""`python run.py spec`: the documents for other programs, as a server with these settings would give them."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from app.cli.options import Assignments, ConfigFile, settings_of

AnyRole = Annotated[
    Literal["all", "provider", "cj"] | None,
    typer.Option(
        "--role", help="Only what this role serves; else the role of the settings.", show_default=False
    ),
]
Compact = Annotated[bool, typer.Option("--json", help="On one line.")]


def openapi(
    *,
    role: AnyRole = None,
    compact: Compact = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Print the HTTP API as an OpenAPI 3.1 document."""
    from app.documents import openapi_of  # noqa: PLC0415 - knows every route; `--help` should not wait for it

    settings, _ = settings_of(config, assignments)
    _print(openapi_of(settings, role), compact=compact)


def asyncapi(
    *,
    role: AnyRole = None,
    compact: Compact = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Print the topics as an AsyncAPI 3.0 document; servers are named with bus.kind = kafka."""
    from app.documents import asyncapi_of  # noqa: PLC0415 - as above

    settings, _ = settings_of(config, assignments)
    _print(asyncapi_of(settings, role), compact=compact)


def _print(document: dict[str, Any], *, compact: bool) -> None:
    from app.documents import text  # noqa: PLC0415 - as above

    sys.stdout.write(text(document, indent=None if compact else 2))
