"""Plots as SVG, made on the server: readable without JavaScript, by a screen reader, and in a saved report.

Each is one function from figures to an SVG with title and description. Every plot stands beside a table with the same
figures; a plot of nothing is empty.
"""

from app.web.plots.caterpillar import GradeLines, caterpillar
from app.web.plots.chances import chances_bar
from app.web.plots.intervals import Interval, intervals
from app.web.plots.matrix import Cell, matrix
from app.web.plots.path import Step, path
from app.web.plots.slope import Move, slope
from app.web.plots.svg import NARROW

__all__ = [
    "NARROW",
    "Cell",
    "GradeLines",
    "Interval",
    "Move",
    "Step",
    "caterpillar",
    "chances_bar",
    "intervals",
    "matrix",
    "path",
    "slope",
]
