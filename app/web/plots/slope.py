"""Two rankings side by side, a line from each essay's rank in the one to its rank in the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.web.plots.svg import LETTER, clip, line, svg, text

_TOP, _BOTTOM, _ROW, _NUMBER = 30.0, 10.0, 22.0, 26.0


@dataclass(frozen=True, slots=True)
class Move:
    """An essay's rank before and after, and how many places it rises among the essays that are left.

    `after` and `rise` are None for one that was left out.
    """

    name: str
    before: int
    after: int | None
    rise: int | None


def slope(moves: Sequence[Move], *, width: int = 900, ident: str = "slope") -> Markup:
    """Ranks as they are on the left, as they would be on the right. Places are drawn in order, without gaps."""
    if not moves:
        return Markup("")
    rose = sum((one.rise or 0) > 0 for one in moves)
    fell = sum((one.rise or 0) < 0 for one in moves)
    gone = sum(one.after is None for one in moves)
    desc = (
        f"{len(moves)} essays: {rose} would rise among those that are left, {fell} fall"
        f"{f', {gone} would be left out' if gone else ''}. The table has every rank."
    )
    height = _TOP + _ROW * len(moves) + _BOTTOM
    return svg(
        _body(moves, width),
        ident=ident,
        title="Ranks before and after",
        desc=desc,
        width=width,
        height=height,
    )


def _body(moves: Sequence[Move], width: int) -> Iterator[str]:
    before = sorted(moves, key=lambda one: one.before)
    places = {rank: n for n, rank in enumerate(sorted(one.after for one in moves if one.after is not None))}
    room = min(0.34 * width, LETTER * max(len(one.name) for one in moves) + 8)
    letters = int(room / LETTER)
    left, right = room + _NUMBER + 8, width - room - _NUMBER - 8
    yield text("axis", left, 16.0, "as it is", anchor="end")
    yield text("axis", right, 16.0, "as it would be", anchor="start")
    for n, one in enumerate(before):
        y = _TOP + _ROW * (n + 0.5)
        yield text("name", room, y + 4, clip(one.name, letters), anchor="end")
        yield text("tick", left - 6, y + 4, str(one.before), anchor="end")
        if one.after is None:
            yield text("tick", left + 12, y + 4, "left out", anchor="start")
            continue
        there = _TOP + _ROW * (places[one.after] + 0.5)
        yield line(_kind(one.rise or 0), left, y, right, there)
        yield text("tick", right + 6, there + 4, str(one.after), anchor="start")
        yield text("name", width - room, there + 4, clip(one.name, letters), anchor="start")


def _kind(rise: int) -> str:
    return "rise" if rise > 0 else "fall" if rise < 0 else "same"
