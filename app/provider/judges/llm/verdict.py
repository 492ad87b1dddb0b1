"""The verdict as a language model must write it, and how strictly it is read. Nothing is ever guessed from prose."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.contracts import Winner

LONGEST = 1000
ELLIPSIS = "…"
MARK = "\ufeff"
THINKING = ("<think>", "</think>")

WINNERS: Mapping[str, Winner] = {"A": Winner.ESSAY_A, "B": Winner.ESSAY_B, "tie": Winner.TIE}

LEVELS: Mapping[str, float] = {
    "very_low": 0.55,
    "low": 0.65,
    "medium": 0.75,
    "high": 0.85,
    "very_high": 0.95,
}
"""The five levels on the scale of `confidence`: evenly spaced from a coin's toss to certainty, not calibrated."""

EVEN = 0.5
"""The confidence of a tie: neither essay is likelier to be the better one. The other judges say the same."""

_SENTENCE = re.compile(r"[.!?…。！？](?=\s|$)|[。！？]")  # noqa: RUF001 - how sentences end in other scripts
_UNSENDABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_READABLE = re.compile(r"\S")


class Unreadable(ValueError):
    """The answer is no verdict; `fault` says why, without a word of the answer."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class WrittenVerdict(BaseModel):
    """What the model must fill. The reasons come first: what is written later can follow from them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    justification: Annotated[str, Field(description="What in the essays decided, in at most 120 words.")]
    winner: Annotated[Literal["A", "B", "tie"], Field(description="The better essay.")]
    confidence: Annotated[
        Literal["very_low", "low", "medium", "high", "very_high"],
        Field(description="How sure it is that the winner is the better essay."),
    ]

    @property
    def decision(self) -> Winner:
        """As the wire names it."""
        return WINNERS[self.winner]

    @property
    def certainty(self) -> float:
        """On the scale 0..1."""
        return EVEN if self.winner == "tie" else LEVELS[self.confidence]

    @property
    def reasons(self) -> str:
        """The justification as it may be stored: at most 1,000 characters."""
        return shortened(_sendable(self.justification))


def schema() -> dict[str, Any]:
    """The JSON schema of `WrittenVerdict`, in the part of the language that every provider takes."""
    full = WrittenVerdict.model_json_schema()
    properties = {
        name: {key: value for key, value in member.items() if key != "title"}
        for name, member in full["properties"].items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_verdict(text: str) -> WrittenVerdict:
    """The verdict, when the text is one JSON object and nothing else.

    What a model thought before it, between tags of its own, is no part of the answer.

    :raises Unreadable: anything else, a fenced or surrounded object included.
    """
    fault = ""
    try:
        written = WrittenVerdict.model_validate(strict_json(_after_thinking(text)))
    except ValidationError as error:
        fault = "; ".join(
            _told(str(one["loc"][0]) if one["loc"] else "", one["type"]) for one in error.errors()
        )
    except ValueError:
        fault = "it is not one JSON object" if text.strip() else "it is empty"
    if fault:  # raised here, so that no error in its context holds a word of the answer
        raise Unreadable(fault)
    if not _READABLE.search(_sendable(written.justification)):
        raise Unreadable('"justification" is empty')
    return written


def strict_json(text: str | bytes) -> Any:
    """JSON as the standard has it, which lets a reader pass over a byte order mark.

    :raises ValueError: it is not; or a member stands twice, a number is not finite, it is nested beyond reason.
    """
    try:
        return json.loads(
            (text.decode() if isinstance(text, bytes) else text).removeprefix(MARK),
            object_pairs_hook=_once,
            parse_constant=_refuse,
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _after_thinking(text: str) -> str:
    """Without one block of thoughts in front: servers of one's own often leave it there."""
    whole = text.removeprefix(MARK).lstrip()
    if not whole.startswith(THINKING[0]):
        return text
    _, ended, answer = whole.partition(THINKING[1])
    return answer if ended else text


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text up to `longest` characters, cut after a sentence or else between words, as late as that can be."""
    text = text.strip()
    if len(text) <= longest:
        return text
    ends = [end.end() for end in _SENTENCE.finditer(text, 0, longest)]
    if ends and ends[-1] >= longest // 2 and (ends[-1] < longest or text[longest].isspace()):
        return text[: ends[-1]]
    head = text[: longest - len(ELLIPSIS)]
    if not text[len(head)].isspace() and (space := max(head.rfind(" "), head.rfind("\n"))) >= longest // 2:
        head = head[:space]
    return head.rstrip() + ELLIPSIS


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _sendable(text: str) -> str:
    """Without what can neither be stored nor sent on: control characters and half characters."""
    return _UNSENDABLE.sub("", text)


def _told(member: str, kind: str) -> str:
    """A fault in our words. Members that are not ours are not named: the name is text of the answer."""
    if kind == "extra_forbidden":
        return "it has a member that was not asked for"
    if member not in WrittenVerdict.model_fields:
        return "it is not a JSON object"
    if kind == "missing":
        return f'"{member}" is missing'
    return (
        f'"{member}" is not one of the allowed values'
        if kind == "literal_error"
        else f'"{member}" is no string'
    )
