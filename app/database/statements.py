"""Statements of the hot paths, run by the driver itself and over many rows at once.

One round trip, and one hand-over of the interpreter lock, serves a whole group. SQLAlchemy writes each statement in
the driver's dialect once; running it again through SQLAlchemy costs ten times what SQLite takes (measured: 10 to 18 us
against 1).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from sqlalchemy import Connection, Dialect, text

AnyRow = Any
"""A named tuple of the columns that the statement asked for."""

_MOST_ROWS = 128
_named: Any = namedtuple  # noqa: PYI024 - the names come from SQL, so that no type can know them


def fetch(connection: Connection, sql: str, **values: object) -> Sequence[AnyRow]:
    """Run `sql`, with `:names` for `values`, and return its rows; none for a statement that gives none."""
    return _prepare(connection.dialect, sql, 0, 0).run(connection, (), values)


def over(
    connection: Connection, template: str, rows: Sequence[Sequence[object]], **values: object
) -> Sequence[AnyRow]:
    """Run `template` with `{given}` standing for `rows` and return what its RETURNING or SELECT gives.

    Rows are padded with NULLs to the next power of two, which match nothing, so that few statements are compiled.
    """
    found: list[AnyRow] = []
    for start in range(0, len(rows), _MOST_ROWS):
        piece = rows[start : start + _MOST_ROWS]
        width, size = len(piece[0]), 1 << (len(piece) - 1).bit_length()
        given = [*chain.from_iterable(piece), *repeat(None, (size - len(piece)) * width)]
        found += _prepare(connection.dialect, template, width, size).run(connection, given, values)
    return found


def insert(
    connection: Connection, template: str, rows: Sequence[Sequence[object]], **values: object
) -> Sequence[AnyRow]:
    """The same for INSERT, where padding would count: rows go in pieces whose sizes are powers of two."""
    made: list[AnyRow] = []
    start = 0
    while start < len(rows):
        size = min(_MOST_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        given = list(chain.from_iterable(rows[start : start + size]))
        made += _prepare(connection.dialect, template, len(rows[0]), size).run(connection, given, values)
        start += size
    return made


class _Statement:
    """A statement in the words of one driver: its values go `before`, in place of `{given}`, and `after`."""

    def __init__(self, sql: str, before: Sequence[str], after: Sequence[str]) -> None:
        self._sql = sql
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
        )
        if cursor.description is None:
            return ()
        found = cursor.fetchall()
        if self._row is None:
            names = [column[0] for column in cursor.description]
            self._row = _named("Row", names, rename=True)._make
        return list(map(self._row, found))


@lru_cache(maxsize=512)
def _prepare(dialect: Dialect, template: str, width: int, size: int) -> _Statement:
    """The statement for so many rows, and the names of its other values in the order of the driver."""
    names = [f"given_{number}" for number in range(width * size)]
    rows = [
        f"({', '.join(f':{name}' for name in names[at : at + width])})"
        for at in range(0, len(names), width or 1)
    ]
    compiled = text(template.replace("{given}", ", ".join(rows))).compile(dialect=dialect)
    order = compiled.positiontup or []
    before = order.index(names[0]) if names else len(order)
    return _Statement(str(compiled), order[:before], order[before + len(names) :])
