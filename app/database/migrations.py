"""Schemas, brought up to date when a database opens. Each database has a folder with a history of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from app.errors import ConfigurationError


def migrate(connection: Connection, script_location: Path, *, name: str = "The database") -> None:
    """Bring the schema up to date within the transaction of `connection`.

    Migrations are files `versions/NNNN_what.py` whose `revision` is their number. Alembic is loaded only when one is
    missing: an ordinary start does not pay for it (measured: 0.2 to 0.4 s).

    :raises ConfigurationError: the schema is newer than this program knows.
    """
    if not is_current(connection, script_location, name=name):
        _upgrade(connection, script_location)


def is_current(connection: Connection, script_location: Path, *, name: str = "The database") -> bool:
    """Whether no migration is missing; nothing is changed.

    :raises ConfigurationError: the schema is newer than this program knows.
    """
    current, known = _schemas(connection, script_location, name)
    return current == known[-1]


def recognise(connection: Connection, script_location: Path, *, name: str = "The database") -> None:
    """Return when the schema is the one that this program works on; nothing is changed.

    :raises ConfigurationError: it is older or newer, or there is none.
    """
    current, known = _schemas(connection, script_location, name)
    if current != known[-1]:
        part = script_location.parent.name
        found = f"has schema {current} of {part}" if current else f"has no tables of {part} yet"
        raise ConfigurationError(
            f"{name} {found}; this version of Juxta reads schema {known[-1]}.",
            hint="Looking changes nothing: start this version's server there, or look with the version that runs.",
        )


def _schemas(connection: Connection, script_location: Path, name: str) -> tuple[str | None, Sequence[str]]:
    """The schema that is there, if any, and those that this program knows."""
    known = sorted(file.name.split("_", 1)[0] for file in (script_location / "versions").glob("[0-9]*_*.py"))
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if current is not None and current not in known:
        raise ConfigurationError(
            f"{name} has schema {current}, but this version of Juxta knows schemas up to {known[-1]}.",
            hint="Start the newer version of Juxta, or restore a copy made before the upgrade.",
        )
    return current, known


def _upgrade(connection: Connection, script_location: Path) -> None:
    # before the imports: at "info" they tell of alembic's plugins
    logging.getLogger("alembic").setLevel(logging.WARNING)

    from alembic.config import Config  # noqa: PLC0415 - see `migrate`: most starts do without
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)

    def steps(current: Any, _context: object) -> Any:
        return script._upgrade_revs("head", current)  # noqa: SLF001 - what alembic's own `upgrade` command calls

    with EnvironmentContext(config, script) as environment:
        environment.configure(connection=connection, fn=steps, transactional_ddl=True)
        environment.run_migrations()
