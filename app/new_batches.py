"""From settings to what a new batch gets unless it says otherwise, and to what the form offers before anyone was asked."""

from __future__ import annotations

import random

from app.cj.batch import BatchSettings
from app.contracts import JudgeKind, LLMConfigOverrides
from app.provider.judges import rules, simulated
from app.provider.judges.panel import PANEL, PERSONAS
from app.settings import Settings
from app.web.defaults import BatchDefaults, JudgeChoice


def draw_seed() -> int:
    """A seed for a batch that names none; it is stored with the batch."""
    return random.getrandbits(31)


def batch_settings(
    settings: Settings, *, provider: str | None = None, seed: int | None = None
) -> BatchSettings:
    """What a new batch gets unless it says otherwise."""
    return BatchSettings(
        judges=_judges(settings, provider or settings.judges.default),
        comparisons_per_essay=settings.cj.comparisons_per_essay,
        target_reliability=settings.cj.target_reliability,
        random_rounds=settings.cj.random_rounds,
        audit_share=settings.cj.audit_share,
        expires_in=settings.cj.expires_in,
        seed=draw_seed() if seed is None else seed,
    )


def _judges(settings: Settings, provider: str) -> tuple[LLMConfigOverrides, ...]:
    """All personas of the panel of rules; of language models the first."""
    match provider:
        case rules.PROVIDER:
            models = [f"{PANEL}/{persona}" for persona in PERSONAS]
        case simulated.PROVIDER:
            models = [simulated.MODEL]
        case _:
            models = list(settings.judges.llm[provider].models[:1])
    return tuple(LLMConfigOverrides(provider=provider, model=model) for model in models)


def batch_defaults(settings: Settings) -> BatchDefaults:
    """What the form for a new batch offers while nobody knows who can judge: the judge that always can."""
    section = settings.judges.rules
    chosen = batch_settings(settings)
    return BatchDefaults(
        judges=(
            JudgeChoice(
                name=rules.PROVIDER,
                label="Rules, offline",
                description=(
                    "Five sets of transparent rules weigh features of the text such as length, variety of words and "
                    "slips. They read no meaning. To learn the tool, not to grade pupils."
                ),
                kind=JudgeKind.RULES,
                settings=batch_settings(settings, provider=rules.PROVIDER).judges,
                pace=f"{section.pace:g} s a comparison, so that you can watch" if section.pace else "at once",
                seconds_each=section.pace / section.concurrency,
            ),
        ),
        comparisons_per_essay=chosen.comparisons_per_essay,
        target_reliability=chosen.target_reliability,
        random_rounds=chosen.random_rounds,
        audit_share=chosen.audit_share,
        seed=draw_seed,
        expires_in=chosen.expires_in,
    )
