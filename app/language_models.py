"""From settings to language models: loaded only where one is offered, for it takes a quarter of a start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime

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
from app.settings import VENDORS, LLMSettings, Settings, is_vendor, rooted


def language_models(settings: Settings) -> dict[str, tuple[Model, ...]]:
    """The language models that are offered, by provider.

    :raises ConfigurationError: a key is missing, or a model unknown; all faults at once.
    """
    sections = settings.judges.offered
    if not sections:
        return {}
    catalogue = _catalogue(settings)
    faults = [fault for name, section in sections.items() for fault in _faults(name, section, catalogue)]
    if faults:
        raise ConfigurationError("\n".join(faults))
    return {name: tuple(_models(name, section, catalogue)) for name, section in sections.items()}


def llm_judges(
    settings: Settings, client: ModelClient, *, start_again: Callable[[str], float]
) -> dict[str, LLMJudge]:
    """A judge for each provider of which a model is offered. `start_again`: see `LLMJudge`.

    :raises ConfigurationError: as `language_models`.
    """
    found = {}
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
    return found


def infos(settings: Settings) -> Iterator[ModelInfo]:
    """What people are told of the language models that are offered.

    :raises ConfigurationError: as `language_models`.
    """
    for name, models in language_models(settings).items():
        for model in models:
            yield _info(name, model, settings.judges.llm[name].base_url)


def probe(settings: Settings, name: str, client: ModelClient) -> Probe:
    """What looks whether this provider would answer."""
    return Probe(_format(name, settings.judges.llm[name]), client)


def require_key(settings: Settings, name: str) -> None:
    """Check that there is a key, or that the server is one's own and may need none.

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
