"""Essays by score with their intervals, and the boundaries between grades where anchors carry them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.cj.scoring_ranking import RankedEssay
from app.web.plots.svg import LETTER, clip, line, svg, text
from app.web.words import figure

_TOP, _BOTTOM, _RIGHT = 8.0, 46.0, 14.0
_GRADES_HEIGHT = 18.0
_ROOMY, _DENSE, _LABELS_UP_TO = 24.0, 15.0, 200
_ROOMY_UP_TO = 40
_STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


@dataclass(frozen=True, slots=True)
class GradeLines:
    """Grades from lowest to highest, and the boundaries between them in logits, one fewer."""

    grades: Sequence[str]
    boundaries: Sequence[float]


def caterpillar(
    rows: Sequence[RankedEssay],
    *,
    grades: GradeLines | None = None,
    width: int = 1000,
    ident: str = "caterpillar",
) -> Markup:
    """Essays by score, best on top: thick bars hold the score with 68 %, thin bars with 95 %; anchors are squares.

    Essays without a score are left out. `ident` keeps ids apart when a page holds the plot twice.
    """
    shown = [row for row in rows if row.score is not None and row.se is not None]
    if not shown:
        return Markup("")
    frame = _Frame(shown, width, grades)
    body = (*frame.axis(), *frame.grade_lines(), *(frame.line(n, row) for n, row in enumerate(shown)))
    title, desc = "Scores with their uncertainty", describe(shown, grades)
    return svg(body, ident=ident, title=title, desc=desc, width=width, height=frame.height)


def describe(shown: Sequence[RankedEssay], grades: GradeLines | None = None) -> str:
    """The plot in words; the table beside it has every figure."""
    best, last = shown[0], shown[-1]
    widest = max(shown, key=lambda row: row.se or 0.0)
    anchors = sum(row.level is not None for row in shown)
    said = (
        f"{len(shown)} essays from the best, {best.essay} ({figure(best.score)} logits), to the last, {last.essay} "
        f"({figure(last.score)}). Bars show where a score lies with 68 and 95 percent probability. "
        f"The least certain is {widest.essay} (standard error {figure(widest.se)})."
    )
    if anchors:
        said += f" {anchors} anchors are drawn as squares."
    if grades:
        bounds = zip(grades.grades[1:], grades.boundaries, strict=True)
        begins = ", ".join(f"{grade} at {figure(boundary)}" for grade, boundary in bounds)
        said += (
            f" Upright lines are boundaries of grades: {grades.grades[0]} is lowest, then begins {begins}."
        )
    return said


class _Frame:
    """Where things stand in one plot."""

    def __init__(self, shown: Sequence[RankedEssay], width: int, grades: GradeLines | None) -> None:
        self._grades = grades
        self._top = _TOP + (_GRADES_HEIGHT if grades else 0.0)
        self._labelled = len(shown) <= _LABELS_UP_TO
        self._step = (
            _ROOMY
            if len(shown) <= _ROOMY_UP_TO
            else _DENSE
            if self._labelled
            else max(0.5, 2400 / len(shown))
        )
        longest = max(len(_label(row)) for row in shown)
        self._left = min(0.36 * width, 14 + LETTER * longest) if self._labelled else 14.0
        self._letters = round((self._left - 14) / LETTER)
        self._low = min(row.low or 0.0 for row in shown)
        self._high = max(row.high or 0.0 for row in shown)
        self._width = width
        self._foot = self._top + self._step * len(shown)
        self.height = self._foot + _BOTTOM

    def x(self, score: float) -> float:
        """The place of a score."""
        span = (self._high - self._low) or 1.0
        return self._left + 8 + (self._width - self._left - 8 - _RIGHT) * (score - self._low) / span

    def axis(self) -> Iterator[str]:
        """Grid lines with their scores, and what is measured."""
        room = (self._width - self._left) / min(70, self._width / 8)
        step = next((s for s in _STEPS if (self._high - self._low) / s <= room), _STEPS[-1])
        for n in range(math.ceil(self._low / step), math.floor(self._high / step) + 1):
            x, score = self.x(n * step), n * step
            name = "zero" if n == 0 else "grid"
            yield f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="{self._top:.0f}" y2="{self._foot:.1f}"/>'
            digits = 0 if step >= 1 else 1
            yield (
                f'<text class="tick" x="{x:.1f}" y="{self._foot + 17:.1f}" text-anchor="middle">'
                f"{figure(score, digits)}</text>"
            )
        yield (
            f'<text class="axis" x="{self.x((self._low + self._high) / 2):.1f}" y="{self._foot + 38:.1f}" '
            'text-anchor="middle">score in logits</text>'
        )

    def grade_lines(self) -> Iterator[str]:
        """Boundaries inside the plot, and each grade above its part of the scale where there is room for its name."""
        if self._grades is None:
            return
        left, right = self._left + 8, self._width - _RIGHT
        places = [min(max(self.x(boundary), left), right) for boundary in self._grades.boundaries]
        for place in places:
            if left < place < right:
                yield line("boundary", place, 4.0, place, self._foot)
        for grade, begin, end in zip(self._grades.grades, (left, *places), (*places, right), strict=True):
            if end - begin >= LETTER * len(grade) + 4:
                yield text("grade", (begin + end) / 2, 16.0, grade)

    def line(self, n: int, row: RankedEssay) -> str:
        """One essay: label, thin and thick bar, mark."""
        assert row.score is not None and row.se is not None and row.low is not None and row.high is not None  # noqa: PT018
        y = self._top + self._step * (n + 0.5)
        x = self.x(row.score)
        inner = (self.x(row.score - row.se), self.x(row.score + row.se))
        size = min(4.5, self._step / 3)
        mark = (
            f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"/>'
            if row.level is None
            else f'<rect class="mark anchor" x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size:.1f}" '
            f'height="{2 * size:.1f}"/>'
        )
        return (
            f"<g>{self._text(row, y)}"
            f'<line class="p95" x1="{self.x(row.low):.1f}" x2="{self.x(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<line class="p68" x1="{inner[0]:.1f}" x2="{inner[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>{mark}</g>'
        )

    def _text(self, row: RankedEssay, y: float) -> str:
        if not self._labelled:
            return ""
        return text("name", self._left, y + 4, clip(_label(row), self._letters), anchor="end")


def _label(row: RankedEssay) -> str:
    return row.essay if row.level is None else f"{row.essay} ({row.level})"
