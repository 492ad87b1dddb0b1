"""Records that could not be handled: how they are kept (B6), and how they are sent again."""

from __future__ import annotations

import traceback
from dataclasses import replace

from app.bus.protocol import Record, Reject, dead_letter_topic

REDRIVES = "juxta-redrives"
"""Header of a record that was dead before: how often it was sent again. It stays when the record dies once more."""

_PREFIX = "dead-"
_REASON_LENGTH = 300
_DIGITS = 6


def dead_letter(record: Record, group: str, error: Exception) -> Record:
    """Put `record` under the dead letter topic: same key, id, bytes and headers, plus what happened.

    `dead-reason` is written by the handler's author in a `Reject`. The text of any other error is left out, because
    it may quote the record (pydantic and SQLAlchemy both do); `dead-error` says its type and where it was raised.
    """
    expected = isinstance(error, Reject)
    why = {
        "dead-topic": record.topic,
        "dead-group": group,
        "dead-error": describe(error),
        "dead-reason": str(error)[:_REASON_LENGTH] if expected else "the handler failed",
    }
    return replace(
        record, topic=dead_letter_topic(record.topic), headers={**record.headers, **why}, attempt=1
    )


def revive(letter: Record) -> Record:
    """Return the record that `letter` was, under its old topic."""
    topic = letter.headers.get("dead-topic")
    if topic is None:
        raise ValueError(f"record {letter.id} on {letter.topic} is not a dead letter")
    headers = {name: text for name, text in letter.headers.items() if not name.startswith(_PREFIX)}
    return replace(letter, topic=topic, headers=headers, attempt=1)


def again(letter: Record) -> Record:
    """Return what is published when `letter` is sent again: the record it was, and one redrive more in its headers."""
    record = revive(letter)
    return replace(record, headers={**record.headers, REDRIVES: str(redrives(letter) + 1)})


def redrives(record: Record) -> int:
    """How often a record was sent again; what is no number of ours counts as never."""
    text = record.headers.get(REDRIVES, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else 0


def describe(error: BaseException) -> str:
    """Name an error and the line that raised it, without its text."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames:
        return type(error).__name__
    return f"{type(error).__name__} at {frames[-1].f_globals.get('__name__')}:{frames[-1].f_lineno}"
