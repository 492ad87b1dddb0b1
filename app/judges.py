"""From settings to those who judge; with `engines` the place that picks implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from app.errors import ConfigurationError
from app.provider.judges.llm import anthropic, google, openai
from app.provider.judges.llm.catalogue import Catalogue, load_catalogue
from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.judge import LLMJudge
from app.provider.judges.llm.model import Model
from app.provider.judges.llm.probe import Probe, listing
from app.provider.judges.llm.prompt import load_prompt
from app.provider.judges.llm.wire import Format
from app.provider.judges.protocol import Judges
from app.provider.judges.rules import load_rules
from app.provider.judges.simulated import load_simulated
from app.settings import ROOT, VENDOR_KEYS, LLMSettings, Settings

VENDORS: Mapping[str, str] = {
    "openai": openai.BASE_URL,
    "anthropic": anthropic.BASE_URL,
    "google": google.BASE_URL,
}
SPARE = 10.0
"""Seconds that a lane gives a language model beyond its own deadline: the lane knows of no cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Who judges here. `models` are the language models by provider, `probes` ask their providers whether they would."""

    judges: Judges
    models: Mapping[str, tuple[Model, ...]]
    probes: Mapping[str, Probe]


def bench(
    settings: Settings, client: ModelClient, *, start_again: Callable[[str], float] = lambda _: 0.0
) -> Bench:
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
    models = language_models(settings)
    probes = {}
    for name, known in models.items():
        section = settings.judges.llm[name]
        key = section.key.get_secret_value()
        found[name] = LLMJudge(
            provider=name,
            wire=_format(name, section.base_url, key),
            client=client,
            models=known,
            template=load_prompt(),
            timeout=section.timeout,
            start_again=start_again,
        )
        probes[name] = Probe(listing(name, base_url=section.base_url, key=key), client)
    return Bench(judges=found, models=models, probes=probes)  # type: ignore[arg-type]


def language_models(settings: Settings) -> dict[str, tuple[Model, ...]]:
    """The language models that are offered, by provider.

    :raises ConfigurationError: a key is missing, or a model unknown; all faults at once.
    """
    offered = {name: section for name, section in settings.judges.llm.items() if section.models}
    if not offered:
        return {}
    today = datetime.now(UTC).date()
    catalogue = load_catalogue([rooted(file) for file in settings.judges.catalogue], today=today)
    faults = [fault for name, section in offered.items() for fault in _faults(name, section, catalogue)]
    if faults:
        raise ConfigurationError("\n".join(faults))
    return {name: tuple(_models(name, section, catalogue)) for name, section in offered.items()}


def rooted(path: Path) -> Path:
    """A file of the installation, wherever the process was started."""
    return path if path.is_absolute() or path.exists() else ROOT / path


def _faults(name: str, section: LLMSettings, catalogue: Catalogue) -> Iterator[str]:
    if not _at_vendor(name, section):
        return
    if not section.key.get_secret_value().strip():
        yield (
            f"judges.{name}.key: missing, and {section.base_url} answers nobody without one; "
            f"set {VENDOR_KEYS[name]} in the environment"
        )
    for model in section.models:
        if catalogue.find(name, model, anywhere=False) is None:
            yield (
                f"judges.{name}.models: {model!r} is not known; known are "
                f"{', '.join(catalogue.names(name)) or 'none'}; a model of your own goes into a file of your own, "
                "see config/models.toml"
            )


def _models(name: str, section: LLMSettings, catalogue: Catalogue) -> Iterator[Model]:
    for each in section.models:
        if model := catalogue.find(name, each, anywhere=not _at_vendor(name, section)):
            yield replace(model, structured=section.structured) if section.structured else model


def _at_vendor(name: str, section: LLMSettings) -> bool:
    return section.base_url.rstrip("/") == VENDORS[name]


def _format(name: str, base_url: str, key: str) -> Format:
    match name:
        case "anthropic":
            return anthropic.AnthropicFormat(base_url=base_url, key=key)
        case "google":
            return google.GoogleFormat(base_url=base_url, key=key)
        case _:
            return openai.OpenAIFormat(base_url=base_url, key=key)
