"""Who beat whom: rows against columns, dark where the row won more than two thirds of its verdicts, pale where the column did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.web.plots.svg import LETTER, clip, svg, text

_GAP, _SMALLEST, _LARGEST, _TOP, _RIGHT = 1.0, 8.0, 44.0, 28.0, 24.0
_PLACES = 38.0  # for the number of the row
_ROOM_FOR_NUMBERS = 20.0
_ROOM_FOR_SHARES = 34.0
_THIRD = 1 / 3
_SHADES = {"lost": 0.1, "even": 0.35, "won": 1.0}


@dataclass(frozen=True, slots=True)
class Cell:
    """Of `verdicts` between row and column the row won `wins`, a tie counting half."""

    wins: float
    verdicts: int


def matrix(
    labels: Sequence[str],
    cells: Mapping[tuple[int, int], Cell],
    *,
    desc: str,
    width: int = 900,
    ident: str = "matrix",
) -> Markup:
    """Cells by row and column; those that never met stay empty, and with few rows the shares are written in them."""
    if not labels:
        return Markup("")
    left = min(0.3 * width, _PLACES + 4 + LETTER * max(len(label) for label in labels))
    side = max(_SMALLEST, min(_LARGEST, (width - left - _RIGHT) / len(labels)))
    whole = left + side * len(labels) + _RIGHT
    height = _TOP + side * len(labels) + 8
    body = _body(labels, cells, left, side)
    return svg(body, ident=ident, title="Who beat whom", desc=desc, width=whole, height=height, kind="cells")


def _body(
    labels: Sequence[str], cells: Mapping[tuple[int, int], Cell], left: float, side: float
) -> Iterator[str]:
    numbered = side >= _ROOM_FOR_NUMBERS
    letters = round((left - _PLACES) / LETTER)
    for n, label in enumerate(labels):
        middle = _TOP + side * (n + 0.5)
        yield text("name", left - _PLACES, middle + 4, clip(label, letters), anchor="end")
        yield text("tick", left - 8, middle + 4, str(n + 1), anchor="end")
        if numbered:
            yield text("tick", left + side * (n + 0.5), _TOP - 8, str(n + 1))
        yield _square("self", left + side * n, _TOP + side * n, side)
    for (row, column), cell in sorted(cells.items()):
        x, y, share = left + side * column, _TOP + side * row, cell.wins / cell.verdicts
        kind = "won" if share > 1.0 - _THIRD else "lost" if share < _THIRD else "even"
        yield _square("met", x, y, side, f' fill-opacity="{_SHADES[kind]}"')
        if side >= _ROOM_FOR_SHARES:
            yield text(kind, x + side / 2, y + side / 2 + 4, f"{100 * share:.0f}")


def _square(kind: str, x: float, y: float, side: float, more: str = "") -> str:
    inner = side - _GAP
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{inner:.1f}" height="{inner:.1f}"{more}/>'
