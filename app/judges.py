"""From settings to those who judge; `container` asks it, as it asks `engines` for bus, databases and queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.contracts import JudgeKind, ModelInfo, Pricing
from app.provider.judges.panel import PANEL, PERSONAS
from app.provider.judges.protocol import Judges
from app.provider.judges.rules import load_rules
from app.provider.judges.simulated import MODEL as SIMULATED
from app.provider.judges.simulated import load_simulated
from app.settings import Settings, rooted

if TYPE_CHECKING:
    from app.provider.judges.llm.http import ModelClient
    from app.provider.judges.llm.probe import Probe

SPARE = 10.0
"""Seconds that a lane gives a language model beyond its own deadline: the lane knows of no cost."""


def judges(
    settings: Settings,
    client: Callable[[], ModelClient],
    *,
    start_again: Callable[[str], float] = lambda _: 0.0,
) -> Judges:
    """Every judge that can be asked: the simulated one with a file of scores, language models where one is named.

    `client` is called once if there are language models. `start_again`: see `LLMJudge`.

    :raises ConfigurationError: a key is missing, a model unknown, or a file cannot be read; nothing was spent.
    """
    rules, simulated = settings.judges.rules, settings.judges.simulated
    norms = rooted(settings.judges.norms)
    found: dict[str, object] = {"rules": load_rules(norms, pace=rules.pace, length_term=rules.length_term)}
    if simulated.scores:
        found["simulated"] = load_simulated(
            Path(simulated.scores), seed=simulated.seed, latency=simulated.latency
        )
    if settings.judges.offered:
        from app.language_models import llm_judges  # noqa: PLC0415 - see there

        found |= llm_judges(settings, client(), start_again=start_again)
    return found  # type: ignore[return-value]


def probes(settings: Settings, client: Callable[[], ModelClient]) -> dict[str, Probe]:
    """For each provider of language models that is asked here what looks whether it would answer."""
    sections = settings.judges.offered
    if not sections:
        return {}
    from app.language_models import probe  # noqa: PLC0415 - see there

    return {name: probe(settings, name, client()) for name in sections}


def model_infos(settings: Settings) -> tuple[ModelInfo, ...]:
    """What people are told of all that can be asked.

    :raises ConfigurationError: as `judges`.
    """
    rules = [f"{PANEL}/{persona}" for persona in PERSONAS]
    simulated = [SIMULATED] if settings.judges.simulated.scores else []
    free = (
        *(_costs_nothing("rules", name, JudgeKind.RULES) for name in rules),
        *(_costs_nothing("simulated", name, JudgeKind.SIMULATED) for name in simulated),
    )
    if not settings.judges.offered:
        return free
    from app.language_models import infos  # noqa: PLC0415 - see there

    return (*free, *infos(settings))


def _costs_nothing(provider: str, model: str, kind: JudgeKind) -> ModelInfo:
    return ModelInfo(provider=provider, model=model, kind=kind, price=Pricing(prompt=0, completion=0))
