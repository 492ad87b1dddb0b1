"""What a supposition asks, read from an address so that it can be passed on, and said as a command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from app.cj.material import Material
from app.cj.what_if import Change, Question
from app.errors import InvalidRequest
from app.web.plots import Move

DRAWN = 40
"""More lines than these are no picture any more."""
_DIGITS = 6
_FIELDS = {"judge": "judges", "essay": "essays", "anchor": "anchors"}
_KNOWN = (*_FIELDS, "position_term")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was ticked: judges, essays and anchors by number."""

    judges: frozenset[int] = frozenset()
    essays: frozenset[int] = frozenset()
    anchors: frozenset[int] = frozenset()
    position_term: bool = True

    @property
    def something(self) -> bool:
        """Whether there is anything to suppose."""
        return bool(self.judges or self.essays or self.anchors) or not self.position_term


def read(query: QueryParams) -> Asked:
    """`?judge=0&essay=3&anchor=5&position_term=off`, each but the last as often as needed.

    :raises InvalidRequest: a number is none, the position term neither on nor off, or a parameter unknown.
    """
    numbers: dict[str, frozenset[int]] = {}
    faults = [(name, "unknown query parameter") for name in query if name not in _KNOWN]
    for field, name in _FIELDS.items():
        typed = query.getlist(field)
        if all(each.isascii() and each.isdecimal() and len(each) <= _DIGITS for each in typed):
            numbers[name] = frozenset(map(int, typed))
        else:
            faults.append((field, "must be a number, counted from 0"))
    term = query.get("position_term", "on")
    if term not in {"on", "off"}:
        faults.append(("position_term", "must be on or off"))
    if faults:
        hint = f"Known here: {', '.join(_KNOWN)}."
        raise InvalidRequest("This supposition cannot be read.", errors=tuple(faults), hint=hint)
    return Asked(**numbers, position_term=term == "on")


def question(asked: Asked, material: Material) -> Question:
    """The same by names.

    :raises InvalidRequest: there is no essay of that number.
    """
    names, faults = material.names, []
    for field in ("essays", "anchors"):
        faults += [
            (field, f"there is no essay number {n}") for n in sorted(getattr(asked, field)) if n >= len(names)
        ]
    if faults:
        raise InvalidRequest("What is to be left out is not there.", errors=tuple(faults))
    return Question(
        without_judges=tuple(sorted(asked.judges)),
        without_essays=tuple(names[n] for n in sorted(asked.essays)),
        without_anchors=tuple(names[n] for n in sorted(asked.anchors)),
        position_term=asked.position_term,
    )


def command(batch_id: object, asked: Question) -> str:
    """How the same is asked for from a terminal."""
    options = [
        *(f"--without-judge {n}" for n in asked.without_judges),
        *(f"--without-essay {shlex.quote(name)}" for name in asked.without_essays),
        *(f"--without-anchor {shlex.quote(name)}" for name in asked.without_anchors),
        *([] if asked.position_term else ["--position-term off"]),
    ]
    return " ".join((f"python run.py what-if {batch_id}", *options))


def moves(changes: Sequence[Change]) -> list[Move]:
    """What the slope chart draws: every essay, or with many of them those that would move the most."""
    most = sorted(changes, key=lambda one: -abs(one.rise or 0) if one.after else float("-inf"))[:DRAWN]
    return [
        Move(one.essay, one.before.rank, one.after.rank if one.after else None, one.rise)
        for one in sorted(most, key=lambda one: one.before.rank)
    ]
