"""Figures with their 95 % intervals under one another on one scale, with a line for the value that would be fair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.web.plots.svg import LETTER, clip, line, svg, text, ticks
from app.web.words import figure

_TOP, _BOTTOM, _ROW, _RIGHT = 8.0, 46.0, 26.0, 16.0
_SPARE = 0.05


@dataclass(frozen=True, slots=True)
class Interval:
    """A named figure and the bounds that hold it with 95 % probability."""

    name: str
    value: float
    low: float
    high: float


def intervals(
    shown: Sequence[Interval],
    *,
    title: str,
    unit: str,
    fair: float,
    width: int = 900,
    ident: str = "intervals",
) -> Markup:
    """One line for each; `fair` is where nobody is favoured."""
    if not shown:
        return Markup("")
    each = "; ".join(
        f"{one.name} {figure(one.value)} ({figure(one.low)} to {figure(one.high)})" for one in shown
    )
    height = _TOP + _ROW * len(shown) + _BOTTOM
    body = _body(shown, unit, fair, width)
    return svg(body, ident=ident, title=title, desc=f"{unit}: {each}.", width=width, height=height)


def _body(shown: Sequence[Interval], unit: str, fair: float, width: int) -> Iterator[str]:
    left = min(0.36 * width, 14 + LETTER * max(len(one.name) for one in shown))
    low, high = min(fair, *(one.low for one in shown)), max(fair, *(one.high for one in shown))
    spare = _SPARE * ((high - low) or 1.0)
    low, high = low - spare, high + spare
    foot, begin = _TOP + _ROW * len(shown), left + 12

    def x(value: float) -> float:
        return begin + (width - _RIGHT - begin) * (value - low) / (high - low)

    for value, digits in ticks(low, high, width / 90):
        yield line("grid", x(value), _TOP, x(value), foot)
        yield text("tick", x(value), foot + 17, figure(value, digits))
    yield line("fair", x(fair), _TOP, x(fair), foot)
    yield text("axis", (begin + width - _RIGHT) / 2, foot + 38, unit)
    for n, one in enumerate(shown):
        y = _TOP + _ROW * (n + 0.5)
        yield text("name", left, y + 4, clip(one.name, round((left - 14) / LETTER)), anchor="end")
        yield line("p68", x(one.low), y, x(one.high), y)
        yield f'<circle class="mark" cx="{x(one.value):.1f}" cy="{y:.1f}" r="4.5"/>'
