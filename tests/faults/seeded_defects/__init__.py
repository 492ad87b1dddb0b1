"""Defects of real processes: each a function that breaks one promise of DESIGN in one place, once it is called.

A campaign names one as `module:function`, and `put_in` puts it into a process before its command line begins. Nothing
here says how a defect is to be noticed: the campaigns' counts do, which know of none. Two kinds live elsewhere, because
they are put into parts that a campaign makes itself: those of the crash matrix, which take the container of a life
(`crashes.defects`), and the mutants of the races (`races.mutants`).
"""

from __future__ import annotations

from importlib import import_module


def put_in(defect: str) -> None:
    """Break the product in this process; `defect` is `module:function`, the module one of this package."""
    module, function = defect.split(":")
    getattr(import_module(f"{__name__}.{module}"), function)()
