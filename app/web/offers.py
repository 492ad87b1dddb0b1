"""Who can judge, as the provider says it now: what the form for a new batch offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import anyio

from app.cj.provider_client import ProviderClient
from app.contracts import JudgeKind, LLMConfigOverrides, ModelInfo, ModelList
from app.errors import JuxtaError
from app.web import words
from app.web.defaults import BatchDefaults, JudgeChoice

AGE = 5.0
"""Seconds for which the provider is not asked again."""

_SIMULATED = "Looks the true score of each essay up in a file and errs as a judge would. It tests the method."
_AI = "An AI reads both essays. Question and essays are sent to {}; it can be wrong, and a person decides."


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
        """What is offered, at most `AGE` old."""
        if (now := anyio.current_time()) >= self._until:
            self._until = now + AGE
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
