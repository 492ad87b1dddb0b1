"""Whether the model that answered is the one that was asked."""

from __future__ import annotations

import re

from app.provider.judges.llm.model import Model

# What providers add to a name to say which edition it is: 2024-07-18, 20250929, 001, 2409, preview-05-20.
_EDITION = re.compile(
    r"(?:-preview)?-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{2}-\d{4}|\d{2}-\d{2}|\d{3,4})(?:-v\d{1,2})?"
)
_LATEST = re.compile(r"[-:]latest$")


def is_same_model(asked: Model, answered: str) -> bool:
    """Whether this name stands for the model: itself, with or without its maker, or a dated edition of it.

    A server that does not say which model it used is believed.
    """
    if not answered or "*" in asked.names:
        return True
    return any(_same(name, answered) for name in (asked.name, *asked.names))


def _same(asked: str, answered: str) -> bool:
    asked, answered = asked.lower().removeprefix("models/"), answered.lower().removeprefix("models/")
    if "/" not in asked or "/" not in answered:
        asked, answered = asked.rpartition("/")[2], answered.rpartition("/")[2]
    if ":" not in answered:
        # A variant such as ":free" says how it is served, not which model it is.
        asked = asked.partition(":")[0]
    asked = _LATEST.sub("", asked)
    bare = _LATEST.sub("", answered)
    return bare == asked or (bare.startswith(asked) and _EDITION.fullmatch(bare, len(asked)) is not None)
