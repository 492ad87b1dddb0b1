"""From settings to those who judge; `container` asks it, as it asks `engines` for bus, databases and queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from app.contracts import JudgeKind, ModelInfo, Pricing
from app.errors import ConfigurationError
from app.provider.judges.llm import anthropic, google, openai
from app.provider.judges.llm.catalogue import Catalogue, load_catalogue
from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.judge import LLMJudge
from app.provider.judges.llm.model import Model
from app.provider.judges.llm.probe import Probe
from app.provider.judges.llm.prompt import load_prompt
from app.provider.judges.llm.wire import Format
from app.provider.judges.panel import PANEL, PERSONAS
from app.provider.judges.protocol import Judges
from app.provider.judges.rules import load_rules
from app.provider.judges.simulated import MODEL as SIMULATED
from app.provider.judges.simulated import load_simulated
from app.settings import ROOT, VENDORS, LLMSettings, Settings, is_vendor

SPARE = 10.0
"""Seconds that a lane gives a language model beyond its own deadline: the lane knows of no cost."""


def judges(
    settings: Settings, client: ModelClient, *, start_again: Callable[[str], float] = lambda _: 0.0
) -> Judges:
    """Every judge that can be asked: the simulated one with a file of scores, language models where one is named.

    `start_again`: see `LLMJudge`.

    :raises ConfigurationError: a key is missing, a model unknown, or a file cannot be read; nothing was spent.
    """
    rules, simulated = settings.judges.rules, settings.judges.simulated
    norms = rooted(settings.judges.norms)
    found: dict[str, object] = {"rules": load_rules(norms, pace=rules.pace, length_term=rules.length_term)}
    if simulated.scores:
        found["simulated"] = load_simulated(
            Path(simulated.scores), seed=simulated.seed, latency=simulated.latency
        )
    for name, models in language_models(settings).items():
        section = settings.judges.llm[name]
        found[name] = LLMJudge(
            provider=name,
            wire=_format(name, section),
            client=client,
            models=models,
            template=load_prompt(),
            timeout=section.timeout,
            start_again=start_again,
        )
    return found  # type: ignore[return-value]


def probes(settings: Settings, client: ModelClient) -> dict[str, Probe]:
    """For each provider of language models that is asked here what looks whether it would answer."""
    offered = [name for name, section in settings.judges.llm.items() if section.models]
    return {name: probe(settings, name, client) for name in offered}


def probe(settings: Settings, name: str, client: ModelClient) -> Probe:
    """What looks whether this provider would answer."""
    return Probe(_format(name, settings.judges.llm[name]), client)


def require_key(settings: Settings, name: str) -> None:
    """Return when there is a key, or the server is one's own and may need none.

    :raises ConfigurationError: there is none.
    """
    if fault := _missing_key(name, settings.judges.llm[name]):
        raise ConfigurationError(fault)


def known_models(settings: Settings) -> list[tuple[ModelInfo, bool]]:
    """Every language model of the catalogue and of the settings, and whether it is offered."""
    catalogue = _catalogue(settings)
    return [
        (_info(name, model, section.base_url), each in section.models)
        for name, section in settings.judges.llm.items()
        for each in dict.fromkeys((*section.models, *catalogue.names(name)))
        if (model := catalogue.find(name, each, anywhere=not is_vendor(name, section.base_url)))
    ]


def model_infos(settings: Settings) -> tuple[ModelInfo, ...]:
    """What people are told of all that can be asked.

    :raises ConfigurationError: as `judges`.
    """
    rules = [f"{PANEL}/{persona}" for persona in PERSONAS]
    simulated = [SIMULATED] if settings.judges.simulated.scores else []
    return (
        *(_costs_nothing("rules", name, JudgeKind.RULES) for name in rules),
        *(_costs_nothing("simulated", name, JudgeKind.SIMULATED) for name in simulated),
        *(
            _info(name, model, settings.judges.llm[name].base_url)
            for name, models in language_models(settings).items()
            for model in models
        ),
    )


def language_models(settings: Settings) -> dict[str, tuple[Model, ...]]:
    """The language models that are offered, by provider.

    :raises ConfigurationError: a key is missing, or a model unknown; all faults at once.
    """
    offered = {name: section for name, section in settings.judges.llm.items() if section.models}
    if not offered:
        return {}
    catalogue = _catalogue(settings)
    faults = [fault for name, section in offered.items() for fault in _faults(name, section, catalogue)]
    if faults:
        raise ConfigurationError("\n".join(faults))
    return {name: tuple(_models(name, section, catalogue)) for name, section in offered.items()}


def _costs_nothing(provider: str, model: str, kind: JudgeKind) -> ModelInfo:
    return ModelInfo(provider=provider, model=model, kind=kind, price=Pricing(prompt=0, completion=0))


def _info(provider: str, model: Model, base_url: str) -> ModelInfo:
    price = model.price
    return ModelInfo(
        provider=provider,
        model=model.name,
        kind=JudgeKind.LLM,
        price=price and Pricing.model_validate(asdict(price)),
        context_tokens=model.context_tokens,
        answer_tokens=model.answer_tokens,
        bytes_per_token=model.bytes_per_token,
        efforts=model.efforts,
        base_url=base_url,
    )


def rooted(path: Path) -> Path:
    """A file of the installation, wherever the process was started."""
    return path if path.is_absolute() or path.exists() else ROOT / path


def _faults(name: str, section: LLMSettings, catalogue: Catalogue) -> Iterator[str]:
    if not is_vendor(name, section.base_url):
        return
    if fault := _missing_key(name, section):
        yield fault
    for model in section.models:
        if catalogue.find(name, model, anywhere=False) is None:
            yield (
                f"judges.{name}.models: {model!r} is not known; known are "
                f"{', '.join(catalogue.names(name)) or 'none'}; a model of your own goes into a file of your own, "
                "see config/models.toml"
            )


def _missing_key(name: str, section: LLMSettings) -> str | None:
    if not is_vendor(name, section.base_url) or section.key.get_secret_value().strip():
        return None
    return (
        f"judges.{name}.key: missing, and {section.base_url} answers nobody without one; "
        f"set {VENDORS[name].key_variable} in the environment"
    )


def _catalogue(settings: Settings) -> Catalogue:
    files = [rooted(file) for file in settings.judges.catalogue]
    return load_catalogue(files, today=datetime.now(UTC).date())


def _models(name: str, section: LLMSettings, catalogue: Catalogue) -> Iterator[Model]:
    for each in section.models:
        if model := catalogue.find(name, each, anywhere=not is_vendor(name, section.base_url)):
            yield replace(model, structured=section.structured) if section.structured else model


def _format(name: str, section: LLMSettings) -> Format:
    base_url, key = section.base_url, section.key.get_secret_value()
    match name:
        case "anthropic":
            return anthropic.AnthropicFormat(base_url=base_url, key=key)
        case "google":
            return google.GoogleFormat(base_url=base_url, key=key)
        case _:
            limit: openai.LimitField = "max_completion_tokens" if is_vendor(name, base_url) else "max_tokens"
            return openai.OpenAIFormat(base_url=base_url, key=key, limit_field=limit)
