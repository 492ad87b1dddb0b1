"""Statements of the hot paths, run by the driver itself and over many rows at once.

One round trip, and one hand-over of the interpreter lock, serves a whole group. SQLAlchemy writes each statement in
the driver's dialect once; running it again through SQLAlchemy costs ten times what SQLite takes (measured: 10 to 18 us
against 1).

Templates are written once, in the words of PostgreSQL. SQLite has one writer at a time: it locks no rows, so those words
are left out there. A template says where the rows go, and of what types their columns are:

    FROM {given bigint float8}     a table `given` with the columns column1, column2
    place {among bigint}           is one of the rows, which have one value each
    INSERT INTO t {rows bigint}    in place of VALUES
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from sqlalchemy import Connection, Dialect, text

AnyRow = Any
"""A named tuple of the columns that the statement asked for."""

_MOST_ROWS = 128
_NO_OPTIONS: Mapping[str, Any] = {}
_BINARY: Mapping[str, Any] = {"binary": True}
"""How psycopg sends and fetches: as text, bytes are written in hexadecimal (measured: 3.8 ms for 64 bodies, and 0.9)."""

_ROW_LOCK = re.compile(r"\s+FOR UPDATE(?: OF \w+)?(?: SKIP LOCKED)?")
_PLACE = re.compile(r"\{(given|among|rows) ([^}]*)\}")
_named: Any = namedtuple  # noqa: PYI024 - the names come from SQL, so that no type can know them


def fetch(connection: Connection, sql: str, **values: object) -> Sequence[AnyRow]:
    """Run `sql`, with `:names` for `values`, and return its rows; none for a statement that gives none."""
    return _prepare(connection.dialect, sql, 0).run(connection, (), values)


def over(
    connection: Connection, template: str, rows: Sequence[Sequence[object]], **values: object
) -> Sequence[AnyRow]:
    """Run `template` over `rows` and return what its RETURNING or SELECT gives.

    Where rows are values, they are padded with NULLs to the next power of two, which match nothing, so that few
    statements are compiled.
    """
    if _has_arrays(connection.dialect):
        return _over_arrays(connection, template, rows, values)
    found: list[AnyRow] = []
    for start in range(0, len(rows), _MOST_ROWS):
        piece = rows[start : start + _MOST_ROWS]
        width, size = len(piece[0]), 1 << (len(piece) - 1).bit_length()
        given = [*chain.from_iterable(piece), *repeat(None, (size - len(piece)) * width)]
        found += _prepare(connection.dialect, template, size).run(connection, given, values)
    return found


def insert(
    connection: Connection, template: str, rows: Sequence[Sequence[object]], **values: object
) -> Sequence[AnyRow]:
    """The same for INSERT, where padding would count: rows go in pieces whose sizes are powers of two."""
    if _has_arrays(connection.dialect):
        return _over_arrays(connection, template, rows, values)
    made: list[AnyRow] = []
    start = 0
    while start < len(rows):
        size = min(_MOST_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        given = list(chain.from_iterable(rows[start : start + size]))
        made += _prepare(connection.dialect, template, size).run(connection, given, values)
        start += size
    return made


def _over_arrays(
    connection: Connection, template: str, rows: Sequence[Sequence[object]], values: Mapping[str, object]
) -> Sequence[AnyRow]:
    """One array for each column, so that one statement serves any number of rows."""
    if not rows:
        return []
    statement = _prepare(connection.dialect, template, 0)
    columns = zip(statement.types, zip(*rows, strict=True), strict=True)
    return statement.run(connection, [_array(kind, column) for kind, column in columns], values)


def _array(kind: str, column: Sequence[Any]) -> list[Any]:
    """What psycopg takes as one array: no integers among floats."""
    return [None if value is None else float(value) for value in column] if kind == "float8" else list(column)


class _Statement:
    """A statement in the words of one driver: its values go `before`, in place of the rows, and `after`."""

    def __init__(
        self,
        sql: str,
        types: Sequence[str],
        before: Sequence[str],
        after: Sequence[str],
        options: Mapping[str, Any],
    ) -> None:
        self.types = types
        self._sql = sql
        self._options = options
        self._before = before
        self._after = after
        self._row: Callable[[Sequence[object]], AnyRow] | None = None

    def run(
        self, connection: Connection, given: Sequence[object], values: Mapping[str, object]
    ) -> Sequence[AnyRow]:
        driver: Any = connection.connection.dbapi_connection
        cursor = driver.execute(
            self._sql,
            [*[values[name] for name in self._before], *given, *[values[name] for name in self._after]],
            **self._options,
        )
        if cursor.description is None:
            return ()
        found = cursor.fetchall()
        if self._row is None:
            names = [column[0] for column in cursor.description]
            self._row = _named("Row", names, rename=True)._make
        return list(map(self._row, found))


@lru_cache(maxsize=512)
def _prepare(dialect: Dialect, template: str, size: int) -> _Statement:
    """The statement for so many rows, and the names of its other values in the order of the driver."""
    place = _PLACE.search(template)
    types = place[2].split() if place else []
    write = _arrays if _has_arrays(dialect) else _values
    names, words = write(place[1], types, size) if place else ([], "")
    sql = _PLACE.sub(lambda _: words, template)
    if not _has_arrays(dialect):
        sql = _ROW_LOCK.sub("", sql)
    compiled = text(sql).compile(dialect=dialect)
    order = compiled.positiontup or []
    before = order.index(names[0]) if names else len(order)
    written, options = str(compiled), _NO_OPTIONS
    if _has_arrays(dialect):
        written, options = written.replace("%s", "%b"), _BINARY
    return _Statement(written, types, order[:before], order[before + len(names) :], options)


def _arrays(use: str, types: Sequence[str], _size: int) -> tuple[list[str], str]:
    names = [f"given_{number}" for number in range(len(types))]
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in zip(names, types, strict=True))
    if use == "among":
        return names, f"= ANY ({arrays})"
    columns = ", ".join(f"column{number}" for number in range(1, len(types) + 1))
    table = f"unnest({arrays}) AS given ({columns})"
    return names, table if use == "given" else f"(SELECT * FROM {table})"  # noqa: S608 - binds only


def _values(use: str, types: Sequence[str], size: int) -> tuple[list[str], str]:
    width = len(types)
    names = [f"given_{number}" for number in range(width * size)]
    cells = [f":{name}" for name in names]
    rows = ", ".join(f"({', '.join(cells[at : at + width])})" for at in range(0, len(cells), width))
    return names, {"given": f"(VALUES {rows}) AS given", "among": f"IN (VALUES {rows})"}.get(
        use, f"VALUES {rows}"
    )


def _has_arrays(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"
