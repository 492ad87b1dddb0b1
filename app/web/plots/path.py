"""How the reliability of a batch came about: a point for each wave, and the goal as a dotted line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.web.plots.svg import line, svg, text, ticks
from app.web.words import reliability

_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300.0, 52.0, 16.0, 14.0, 48.0
_TENTHS = 10


@dataclass(frozen=True, slots=True)
class Step:
    """So many verdicts per essay, and the reliability that they came to."""

    per_essay: float
    reliability: float


def path(steps: Sequence[Step], *, goal: float, width: int = 900, ident: str = "path") -> Markup:
    """Reliability over verdicts per essay."""
    if not steps:
        return Markup("")
    first, last = steps[0], steps[-1]
    reached = next((step for step in steps if step.reliability >= goal), None)
    came = f"reached at {reached.per_essay:.1f} verdicts per essay" if reached else "not reached"
    desc = (
        f"Reliability from {reliability(first.reliability)} at {first.per_essay:.1f} verdicts per essay to "
        f"{reliability(last.reliability)} at {last.per_essay:.1f}. "
        f"The reliability asked for, {goal:.2f}, is a dotted line; it was {came}."
    )
    body = _body(steps, goal, width)
    return svg(body, ident=ident, title="Path of the reliability", desc=desc, width=width, height=_HEIGHT)


def _body(steps: Sequence[Step], goal: float, width: int) -> Iterator[str]:
    reach = steps[-1].per_essay or 1.0
    right, foot = width - _RIGHT, _HEIGHT - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (right - _LEFT) * value / reach

    def y(value: float) -> float:
        return foot - (foot - _TOP) * min(max(value, 0.0), 1.0)

    for tenth in range(0, _TENTHS + 1, 2):
        yield line("grid", _LEFT, y(tenth / _TENTHS), right, y(tenth / _TENTHS))
        yield text("tick", _LEFT - 8, y(tenth / _TENTHS) + 4, f"{tenth / _TENTHS:.1f}", anchor="end")
    for value, digits in ticks(0.0, reach, width / 90):
        yield text("tick", x(value), foot + 18, f"{value:.{digits}f}")
    yield text("axis", (_LEFT + right) / 2, _HEIGHT - 10, "verdicts per essay")
    yield line("goal", _LEFT, y(goal), right, y(goal))
    yield text("tick", _LEFT + 6, y(goal) - 5, f"asked for: {goal:.2f}", anchor="start")
    points = " ".join(f"{x(step.per_essay):.1f},{y(step.reliability):.1f}" for step in steps)
    yield f'<polyline class="curve" points="{points}"/>'
    for step in steps:
        yield f'<circle class="mark" cx="{x(step.per_essay):.1f}" cy="{y(step.reliability):.1f}" r="3.5"/>'
