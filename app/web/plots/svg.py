"""What all plots share: the frame with title and description, escaped text that fits its place, and ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from markupsafe import Markup

NARROW = 350
"""The width of a plot for a phone."""
LETTER = 7.2
"""The width of a letter in a label; the widest fonts of the style sheet need no more."""


def svg(
    body: Iterable[str], *, ident: str, title: str, desc: str, width: float, height: float, kind: str = ""
) -> Markup:
    """The whole plot. Texts in `body` must have gone through `text` or `clip`; `ident` keeps the ids of a page apart."""
    name = f"plot {kind}".strip()
    return Markup(  # noqa: S704 - every text in it went through `escape`
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{name}" role="img" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" aria-labelledby="{ident}-title {ident}-desc">'
        f'<title id="{ident}-title">{escape(title)}</title>'
        f'<desc id="{ident}-desc">{escape(desc)}</desc>{"".join(body)}</svg>'
    )


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """A straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def text(kind: str, x: float, y: float, words: str, *, anchor: str = "middle") -> str:
    """Words at a place."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def clip(label: str, letters: int) -> str:
    """A label no longer than so many letters."""
    return label if len(label) <= letters else label[: max(1, letters - 1)] + "…"


def ticks(low: float, high: float, most: float) -> Iterator[tuple[float, int]]:
    """Round numbers between two bounds, at most about `most` of them, each with its digits behind the point."""
    span = (high - low) or 1.0
    rough = span / max(most, 1.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1.0, 2.0, 5.0, 10.0) if power * n >= rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        yield n * step, digits
