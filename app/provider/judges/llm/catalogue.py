"""The language models that are known, from files such as `config/models.toml`, checked whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from app.errors import ConfigurationError
from app.provider.judges.llm.model import FREE, Effort, Model, Price, Structured

ANY = "*"
"""Stands for every name that is not listed."""

Tokens = Annotated[int, Field(ge=1)]
Dollars = Annotated[float, Field(ge=0)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Price(_Table):
    prompt: Dollars
    completion: Dollars
    cached: Dollars | None = None
    cache_written: Dollars | None = None
    on: date
    until: date | None = None


class _Model(_Table):
    context_tokens: Tokens = 128_000
    answer_tokens: Tokens = 8_192
    most_answer_tokens: Tokens = 16_384
    bytes_per_token: Annotated[float, Field(gt=0)] = 3.0
    structured: Structured = "json_schema"
    most_temperature: Annotated[float, Field(gt=0, le=2)] | Literal["none"] = 2.0
    efforts: tuple[Effort, ...] = ()
    reasoning: Literal["level", "budget"] = "level"
    names: tuple[str, ...] = ()
    price: _Price | Literal["none"] | None = None

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.answer_tokens >= self.context_tokens:
            raise ValueError(
                f"answer_tokens ({self.answer_tokens}) must be less than context_tokens ({self.context_tokens}), which"
                " are of question and answer together"
            )
        if self.answer_tokens > self.most_answer_tokens:
            raise ValueError(
                f"answer_tokens ({self.answer_tokens}) must not be more than most_answer_tokens"
                f" ({self.most_answer_tokens})"
            )
        return self

    def named(self, name: str, *, today: date) -> Model:
        values = {field: getattr(self, field) for field in type(self).model_fields}
        temperature = None if self.most_temperature == "none" else self.most_temperature
        return Model(
            **(values | {"name": name, "most_temperature": temperature, "price": self._price(today)})
        )

    def _price(self, today: date) -> Price | None:
        if self.price == "none":
            return FREE
        if not isinstance(self.price, _Price) or (self.price.until and self.price.until < today):
            return None
        return Price(**self.price.model_dump(exclude={"until"}))


Provider = Literal["openai", "anthropic", "google"]
_FILE = TypeAdapter(dict[Provider, dict[str, _Model]])


class Catalogue:
    """Known models by provider and name."""

    def __init__(self, models: Mapping[str, Mapping[str, Model]]) -> None:
        self._models = models

    def names(self, provider: str) -> tuple[str, ...]:
        """The names that are listed."""
        return tuple(name for name in self._models.get(provider, {}) if name != ANY)

    def find(self, provider: str, name: str, *, anywhere: bool) -> Model | None:
        """The model of this name; where servers may have any (`anywhere`), what is said of names that are not listed."""
        known = self._models.get(provider, {})
        if name in known and name != ANY:
            return known[name]
        if not anywhere:
            return None
        return replace(known.get(ANY) or Model(name=ANY), name=name)


def load_catalogue(files: Sequence[Path], *, today: date) -> Catalogue:
    """Read the files; of two that name a model the later wins. A price whose last day is past is unknown.

    :raises ConfigurationError: a file cannot be read, or says what cannot be; all faults of all files at once.
    """
    found: dict[str, dict[str, Model]] = {}
    faults: list[str] = []
    for file in files:
        try:
            read = _FILE.validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            faults.append(f"{file}: {error}")
        except ValidationError as error:
            faults += [f"{file}: {_line(fault)}" for fault in error.errors()]
        else:
            for provider, models in read.items():
                known = found.setdefault(provider, {})
                known |= {name: model.named(name, today=today) for name, model in models.items()}
    if faults:
        raise ConfigurationError("\n".join(faults))
    return Catalogue(found)


def _line(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"] if part not in {"[key]", "_Price"})
    if fault["type"] == "extra_forbidden":
        return f"{place}: unknown; what can be said of a model stands at the head of config/models.toml"
    if fault["type"] == "value_error":
        return f"{place}: {fault['ctx']['error']}"
    return f"{place}: {fault['input']!r} is not allowed: {fault['msg'].lower()}"
