"""Lines over a shared axis as one SVG file that needs no style sheet: each with its own dash and its name at its end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from app.web.words import figure

_WIDTH, _HEIGHT = 760.0, 420.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 140.0, 40.0, 54.0
_DASHES = ("", "7 4", "2 4", "10 4 2 4", "1 3", "14 3")
_COLOURS = ("a", "b", "c", "d")
_STEPS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_MOST_TICKS = 10
_TENTHS = 10
_LABEL_HEIGHT = 15.0
_STYLE = (
    ":root{color-scheme:light dark;--paper:#fcfbf8;--ink:#1d1c1a;--soft:#5a564f;--rule:#d9d4c8;"
    "--a:#1f4e86;--b:#8c3b0c;--c:#3c6e47;--d:#5a564f}"
    "@media (prefers-color-scheme:dark){:root{--paper:#17181b;--ink:#e9e6df;--soft:#aaa69c;--rule:#36383d;"
    "--a:#93bdf2;--b:#f0b183;--c:#a5d3ae;--d:#aaa69c}}"
    "text{font:12.5px system-ui,sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums}"
    ".head{font-size:15px;font-weight:600}.soft{fill:var(--soft);font-size:11.5px}"
    ".grid{stroke:var(--rule)}.goal{stroke:var(--soft);stroke-dasharray:2 3}.curve{fill:none;stroke-width:2}"
    + "".join(f".{name}{{stroke:var(--{name})}}" for name in _COLOURS)
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name and its points, x ascending and never below 0, y from 0 to 1."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def curves_svg(
    lines: Sequence[Line], *, title: str, across: str, up: str, goals: Sequence[float] = ()
) -> str:
    """Draw the lines with their axes; `goals` are dotted lines at a height.

    :raises ValueError: there is no line, or one without points.
    """
    if not lines or not all(len(line.x) for line in lines):
        raise ValueError("a plot needs at least one line, and each line a point")
    frame = _Frame(max(line.x[-1] for line in lines))
    body = "".join((*frame.grid(goals), *frame.curves(lines)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" '
        f'width="{_WIDTH:.0f}" height="{_HEIGHT:.0f}" aria-labelledby="curves-title curves-desc">'
        f'<title id="curves-title">{escape(title)}</title>'
        f'<desc id="curves-desc">{escape(_describe(lines, across, up))}</desc><style>{_STYLE}</style>'
        f'<rect width="{_WIDTH:.0f}" height="{_HEIGHT:.0f}" style="fill:var(--paper)"/>'
        f'<text class="head" x="{_LEFT:.0f}" y="22">{escape(title)}</text>{body}'
        f'<text class="soft" x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 14:.0f}" text-anchor="middle">'
        f"{escape(across)}</text>"
        f'<text class="soft" transform="translate(16 {(_TOP + _HEIGHT - _BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(up)}</text></svg>\n'
    )


def _describe(lines: Sequence[Line], across: str, up: str) -> str:
    """The plot in words; the printed table has every figure."""
    ends = "; ".join(f"{line.name} ends at {figure(line.y[-1])}" for line in lines)
    return f"{up} by {across}, up to {figure(max(line.x[-1] for line in lines), 0)}: {ends}."


class _Frame:
    """Where things stand."""

    def __init__(self, reach: float) -> None:
        self._reach = reach or 1.0

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / self._reach

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * min(max(value, 0.0), 1.0)

    def grid(self, goals: Sequence[float]) -> Iterator[str]:
        right, foot = _WIDTH - _RIGHT, self.y(0.0)
        for tenth in range(0, _TENTHS + 1, 2):
            y = self.y(tenth / _TENTHS)
            yield f'<line class="grid" x1="{_LEFT:.0f}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="soft" x="{_LEFT - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{tenth / _TENTHS:.1f}</text>'
        step = next((one for one in _STEPS if self._reach / one <= _MOST_TICKS), self._reach)
        for n in range(math.floor(self._reach / step) + 1):
            yield (
                f'<text class="soft" x="{self.x(n * step):.1f}" y="{foot + 18:.1f}" text-anchor="middle">'
                f"{n * step:.0f}</text>"
            )
        for goal in goals:
            y = self.y(goal)
            yield f'<line class="goal" x1="{_LEFT:.0f}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'

    def curves(self, lines: Sequence[Line]) -> Iterator[str]:
        """Each line, and its name beside its last point, moved up or down where names would meet."""
        free = _HEIGHT
        places: dict[int, float] = {}
        for n in sorted(range(len(lines)), key=lambda n: lines[n].y[-1]):
            places[n] = free = min(self.y(lines[n].y[-1]), free - _LABEL_HEIGHT)
        for n, line in enumerate(lines):
            points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
            colour, dash = _COLOURS[n % len(_COLOURS)], _DASHES[n % len(_DASHES)]
            dashed = f' stroke-dasharray="{dash}"' if dash else ""
            yield f'<polyline class="curve {colour}" points="{points}"{dashed}/>'
            yield (
                f'<text x="{self.x(line.x[-1]) + 8:.1f}" y="{places[n] + 4:.1f}">'
                f"{escape(line.name)} {figure(line.y[-1])}</text>"
            )
