"""Models that say the wrong thing, in answers that are good HTTP and good JSON around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.fake_llm.dialect import Completion, Stop

Change = Callable[[Completion], Completion]

LONG = 100_000
OTHER_MODEL = "somebody-elses-model-1"


def truncated(good: Completion) -> Completion:
    """The JSON ends in its middle."""
    return replace(good.saying(good.text[: len(good.text) // 2]), prose=True)


def fenced(good: Completion) -> Completion:
    """In a fence of Markdown."""
    return replace(good.saying(f"```json\n{good.text}\n```"), prose=True)


def in_prose(good: Completion) -> Completion:
    """Between sentences."""
    return replace(
        good.saying(f"Here is my verdict.\n\n{good.text}\n\nShall I explain it further?"), prose=True
    )


def other_fields(good: Completion) -> Completion:
    """An object of another shape."""
    return good.saying(json.dumps({"better_essay": 1, "reasons": ["style"], "score": {"A": 7, "B": 5}}))


def wrong_winner(good: Completion) -> Completion:
    """A winner that is none of the names."""
    return with_field(good, "winner", "Essay B.")


def both_winners(good: Completion) -> Completion:
    """Two winners in a list."""
    return with_field(good, "winner", ["A", "B"])


def beyond_confidence(good: Completion) -> Completion:
    """A confidence outside of what was asked for."""
    known = json.loads(good.text)[_key(good, "confidence")]
    return with_field(good, "confidence", "beyond any doubt" if isinstance(known, str) else 170)


def endless_justification(good: Completion) -> Completion:
    """A justification of 100,000 characters."""
    words = "The first paragraph carries the argument and the second one does not. "
    return with_field(good, "justification", (words * (LONG // len(words) + 1))[:LONG])


def duplicate_keys(good: Completion) -> Completion:
    """The winner twice, and not the same."""
    fields, key = json.loads(good.text), _key(good, "winner")
    other = "B" if str(fields[key]).upper().endswith("A") else "A"
    return good.saying(f'{good.text.rstrip()[:-1]}, {json.dumps(key)}: "{other}"}}')


def refusal(good: Completion) -> Completion:
    """The model declines."""
    return replace(good.saying("I'm sorry, but I can't help with judging these texts."), stop=Stop.REFUSAL)


def filtered(good: Completion) -> Completion:
    """A filter took the words away."""
    return replace(good.saying(""), stop=Stop.FILTERED, prose=True)


def cut_short(good: Completion) -> Completion:
    """The limit of tokens came first, and the stop reason says so."""
    return replace(truncated(good), stop=Stop.LENGTH)


def empty(good: Completion) -> Completion:
    """No words, and the model stopped as if all were well."""
    return replace(good.saying(""), prose=True)


def other_model(good: Completion) -> Completion:
    """Another model answered than was asked."""
    return replace(good, model=OTHER_MODEL)


def with_field(good: Completion, name: str, value: Any) -> Completion:
    """The good verdict with one field changed."""
    return good.saying(json.dumps({**json.loads(good.text), _key(good, name): value}, ensure_ascii=False))


def _key(good: Completion, name: str) -> str:
    """The field of that name or nearly so; the name itself where the answer has none."""
    return next((key for key in json.loads(good.text) if name in key.lower()), name)
