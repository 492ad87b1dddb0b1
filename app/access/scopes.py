"""What a key may allow."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Flag, auto

from app.errors import InvalidRequest


class Scope(Flag):
    """Each is a permission of its own, but `admin` allows everything.

    `judge` is for people who judge; no route asks for it yet.
    """

    READ = auto()
    SUBMIT = auto()
    JUDGE = auto()
    OPERATE = auto()
    ADMIN = auto()

    @property
    def words(self) -> tuple[str, ...]:
        """Their names, as keys store them and people type them."""
        return tuple(str(scope.name).lower() for scope in self)

    @property
    def implied(self) -> Scope:
        """These and what they bring with them."""
        return ALL if Scope.ADMIN in self else self


ALL = Scope.READ | Scope.SUBMIT | Scope.JUDGE | Scope.OPERATE | Scope.ADMIN


def scopes_of(words: Iterable[str]) -> Scope:
    """Read names of scopes.

    :raises InvalidRequest: one of them is none, or there are none.
    """
    found = Scope(0)
    for word in words:
        try:
            found |= Scope[word.upper()]
        except KeyError:
            raise InvalidRequest(f"There is no scope {word!r}; there are: {', '.join(ALL.words)}.") from None
    if not found:
        raise InvalidRequest(f"A key needs at least one scope of: {', '.join(ALL.words)}.")
    return found
