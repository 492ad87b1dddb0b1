"""The chances of one essay's grades as one stacked bar, for a cell of the table; the cell says the same in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

_HEIGHT = 14
_PALEST = 0.12
_SMALLEST = 0.002  # of the width; less cannot be seen


def chances_bar(chances: Sequence[float]) -> Markup:
    """Grades from lowest to highest, left to right, the higher the darker. Hidden from screen readers."""
    return Markup(  # noqa: S704 - numbers only
        f'<svg class="chances" height="{_HEIGHT}" aria-hidden="true" focusable="false">{"".join(_parts(chances))}</svg>'
    )


def shade(place: int, of: int) -> float:
    """How dark the grade at this place is, 0 to 1."""
    return _PALEST + (1.0 - _PALEST) * place / max(1, of - 1)


def _parts(chances: Sequence[float]) -> Iterator[str]:
    begin = 0.0
    for place, chance in enumerate(chances):
        if chance >= _SMALLEST:
            yield (
                f'<rect x="{100 * begin:.2f}%" width="{100 * chance:.2f}%" height="{_HEIGHT}" '
                f'fill-opacity="{shade(place, len(chances)):.2f}"/>'
            )
        begin += chance
