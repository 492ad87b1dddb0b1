"""Whether a provider takes the key, asked in a way that costs nothing: by its list of models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.provider.judges.llm.failures import envelope
from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.wire import Answer, Format
from app.provider.judges.protocol import JudgeError

DEADLINE = 10.0
BELIEVED = 60.0
"""Seconds for which a key that was taken is not tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The provider answered and took the key. `models` are the names it lists, None when it has no list."""

    models: frozenset[str] | None
    seconds: float

    @property
    def words(self) -> str:
        """For people."""
        if self.models is None:
            return "It answers; it lists no models, so that whether it takes the key is not known."
        return f"It answers, takes the key and lists {len(self.models)} models."


class Probe:
    """Asks one provider, and believes a good answer for a while."""

    def __init__(
        self, wire: Format, client: ModelClient, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._listing = wire.listing()
        self._client = client
        self._monotonic = monotonic
        self._known: Probed | None = None
        self._known_at = 0.0

    async def look(self) -> Probed:
        """Ask now.

        A server without a list is believed to take the key: there is no other way that costs nothing.

        :raises JudgeError: it refuses the key, cannot be reached, or is broken; its `code` says which.
        """
        began = self._monotonic()
        answer = await self._client.get(self._listing.url, self._listing.headers, total=DEADLINE)
        models: frozenset[str] | None = None
        try:
            models = _names(answer)
        except JudgeError as error:
            if error.code not in {"rejected", "malformed"}:
                raise
        self._known_at = self._monotonic()
        self._known = Probed(models=models, seconds=self._known_at - began)
        return self._known

    async def known(self) -> Probed:
        """As `look`, or what it said within the last minute."""
        if self._known is not None and self._monotonic() - self._known_at < BELIEVED:
            return self._known
        return await self.look()


def _names(answer: Answer) -> frozenset[str]:
    """OpenAI and Anthropic have `data[].id`, Google `models[].name`."""
    body = envelope(answer, now=time.time())
    rows = body.get("data", body.get("models"))
    found = [row.get("id") or row.get("name") for row in rows or () if isinstance(row, dict)]
    return frozenset(name.removeprefix("models/") for name in found if isinstance(name, str))
