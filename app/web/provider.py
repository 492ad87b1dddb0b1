"""How the provider is and who can judge there, for the pages: each is asked for only so often, and believed meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import anyio

from app.cj.provider_client import ProviderClient
from app.contracts import JudgeKind, LLMConfigOverrides, ModelInfo, ModelList, ProviderStatus
from app.errors import JuxtaError, Unavailable
from app.web import words
from app.web.defaults import BatchDefaults, JudgeChoice

STATUS_AGE = 1.0
"""Seconds for which it is not asked again how it is."""

OFFERS_AGE = 5.0
"""Seconds for which it is not asked again who can judge."""

_SIMULATED = "Looks the true score of each essay up in a file and errs as a judge would. It tests the method."
_AI = "An AI reads both essays. Question and essays are sent to {}; it can be wrong, and a person decides."


class ProviderLook:
    """How the provider is, for a page. Looked up at most once a second; one that cannot be reached is away."""

    def __init__(self, provider: ProviderClient) -> None:
        self._provider = provider
        self._status = ProviderStatus()
        self._seen_at = float("-inf")

    async def __call__(self) -> ProviderStatus:
        """What it said, at most `STATUS_AGE` ago, with its durations as they are now."""
        now = anyio.current_time()
        if now - self._seen_at >= STATUS_AGE:
            self._seen_at = now
            try:
                self._status = await self._provider.status()
            except Unavailable as error:
                self._status = ProviderStatus(away=(error.detail,))
            return self._status
        return self._status.later(now - self._seen_at)


class Offers:
    """The defaults of the form with the judges of the provider.

    Judges in `defaults` stand for all models of their name. While the provider is away, what it said last is offered,
    or else those. `first` is the provider whose judge is chosen unless another is.
    """

    def __init__(self, provider: ProviderClient, defaults: BatchDefaults, *, first: str) -> None:
        self._provider = provider
        self._defaults = self._now = defaults
        self._first = first
        self._until = float("-inf")

    async def __call__(self) -> BatchDefaults:
        """What is offered, at most `OFFERS_AGE` old."""
        if (now := anyio.current_time()) >= self._until:
            self._until = now + OFFERS_AGE
            try:
                known = await self._provider.models()
            except JuxtaError as error:
                self._now = replace(self._now, away=error.detail)
            else:
                choices = choices_of(known, self._defaults.judges, first=self._first)
                self._now = replace(self._defaults, judges=choices, known=known)
        return self._now


def choices_of(known: ModelList, own: Sequence[JudgeChoice], *, first: str) -> tuple[JudgeChoice, ...]:
    """A choice for each model, those of provider `first` before the others."""
    names = dict.fromkeys(info.provider for info in known.models)
    choices: list[JudgeChoice] = []
    for name in sorted(names, key=lambda name: name != first):
        mine = [choice for choice in own if choice.name == name]
        choices += mine or [_choice(info) for info in known.models if info.provider == name]
    return tuple(choices)


def _choice(info: ModelInfo) -> JudgeChoice:
    simulated = info.kind is JudgeKind.SIMULATED
    return JudgeChoice(
        name=f"{info.provider}/{info.model}",
        label="Simulated" if simulated else f"{info.model}, by {info.provider}",
        description=_SIMULATED if simulated else _AI.format(urlsplit(info.base_url).netloc or "it"),
        kind=info.kind,
        settings=(LLMConfigOverrides(provider=info.provider, model=info.model),),
        pace=words.price(info.price),
        seconds_each=0.0 if simulated else None,
    )
