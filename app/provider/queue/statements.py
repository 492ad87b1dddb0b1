"""Statements over many rows at once: one round trip, and one hand-over of the interpreter lock, for a whole group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Row, text

AnyRow = Row[*tuple[Any, ...]]

_INSERT_ROWS = 64


def over(
    connection: Connection, template: str, rows: Sequence[Sequence[object]], **values: object
) -> Sequence[AnyRow]:
    """Run `template` with `{given}` standing for `rows` and return what its RETURNING or SELECT gives.

    Rows are padded with NULLs to the next power of two, which match nothing, so that few statements are compiled.
    """
    size = 1 << (len(rows) - 1).bit_length()
    return _run(connection, template, size, rows, values)


def insert(
    connection: Connection, template: str, rows: Sequence[Sequence[object]], **values: object
) -> list[AnyRow]:
    """The same for INSERT, where padding would count: rows go in pieces whose sizes are powers of two."""
    made: list[AnyRow] = []
    start = 0
    while start < len(rows):
        size = min(_INSERT_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        made += _run(connection, template, size, rows[start : start + size], values)
        start += size
    return made


def _run(
    connection: Connection,
    template: str,
    size: int,
    rows: Sequence[Sequence[object]],
    values: dict[str, object],
) -> Sequence[AnyRow]:
    width = len(rows[0])
    sql, pick = _compile(connection.dialect, template, width, size)
    padding = (None,) * ((size - len(rows)) * width)
    given = dict(zip(_names(size * width), chain(chain.from_iterable(rows), padding), strict=True))
    return connection.exec_driver_sql(sql, pick(given | values)).all()


@lru_cache(maxsize=256)
def _names(count: int) -> Sequence[str]:
    return tuple(f"given_{number}" for number in range(count))


@lru_cache(maxsize=512)
def _compile(
    dialect: Dialect, template: str, width: int, size: int
) -> tuple[str, Callable[[dict[str, object]], Any]]:
    """The statement for so many rows, and what puts its values into the order of the driver.

    SQLAlchemy does both at every execution; for hundreds of values that was a third of the writer's time.
    """
    names = _names(size * width)
    rows = (", ".join(f":{name}" for name in names[at : at + width]) for at in range(0, len(names), width))
    statement = text(template.replace("{given}", ", ".join(f"({row})" for row in rows)))
    compiled = statement.compile(dialect=dialect)
    order = compiled.positiontup
    if order is None:
        return str(compiled), dict
    if len(order) == 1:
        return str(compiled), lambda values: (values[order[0]],)
    return str(compiled), itemgetter(*order)
