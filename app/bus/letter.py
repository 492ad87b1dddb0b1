"""A dead letter as people see it, and how they say which ones they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from app.bus.dead_letter import redrives
from app.bus.protocol import Kept
from app.errors import InvalidRequest

_FIELDS = ("reason", "group", "error", "key", "id")
_WHERE = re.compile(r"(\w+)([=~])(.+)", re.DOTALL)
_NAMED = f"{', '.join(_FIELDS[:-1])} or {_FIELDS[-1]}"
_LONGEST_NAME = 30
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PLACE = re.compile(r"(\d{1,9})-(\d{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter without what it holds. `id` is its place, `record_id` that of the record it was."""

    id: str
    at: float | None
    record_id: str
    key: str
    group: str
    reason: str
    error: str
    redrives: int
    size: int

    @classmethod
    def of(cls, kept: Kept) -> Self:
        """What people may see of it."""
        record, said = kept.record, kept.record.headers
        return cls(
            id=f"{kept.partition}-{kept.offset}",
            at=kept.at,
            record_id=record.id,
            key=record.key,
            group=said.get("dead-group", ""),
            reason=said.get("dead-reason", ""),
            error=said.get("dead-error", ""),
            redrives=redrives(record),
            size=len(record.body),
        )

    @property
    def kind(self) -> str:
        """Its reason without ids, so that those that died of the same are counted together."""
        return _ID.sub("…", self.reason)


@dataclass(frozen=True, slots=True)
class Where:
    """One condition on letters: `field=text` is exactly so, `field~text` has it in it, in any case of letters."""

    name: str
    exact: bool
    text: str

    @classmethod
    def read(cls, words: str) -> Self:
        """Read what people type.

        :raises InvalidRequest: it is no condition.
        """
        found = _WHERE.fullmatch(words)
        if found is None:
            raise InvalidRequest(
                f"A condition is field=text or field~text, where field is {_NAMED}.",
                errors=(("where", f"fields: {', '.join(_FIELDS)}"),),
            )
        if found[1] not in _FIELDS:
            raise InvalidRequest(
                f"Dead letters have no field {found[1][:_LONGEST_NAME]!r}; what can be asked for is {_NAMED}.",
                errors=(("where", f"fields: {', '.join(_FIELDS)}"),),
            )
        return cls(found[1], found[2] == "=", found[3])

    def matches(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        value = str(getattr(letter, "record_id" if self.name == "id" else self.name))
        return value == self.text if self.exact else self.text.casefold() in value.casefold()


def place_of(text: str) -> tuple[int, int]:
    """Read the id of a letter: partition and offset.

    :raises InvalidRequest: it is none.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        raise InvalidRequest(
            "That is no id of a dead letter; one looks like 3-1207.", errors=(("id", "like 3-1207"),)
        )
    return int(found[1]), int(found[2])
