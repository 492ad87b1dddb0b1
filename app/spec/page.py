"""What the page of the documents shows: operations by module, topics, and every model as a table of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from app.spec.openapi import TAGS, failures, model_of
from app.spec.operation import Answer, Operation
from app.spec.schemas import Schema

_CODE = re.compile(r"`([^`]*)`")
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "default": "default {}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An operation as shown: `answers` are (status, words, model), `problems` (status, code, words)."""

    operation: Operation
    description: Markup
    body: str
    answers: Sequence[tuple[int, Markup, str]]
    problems: Sequence[tuple[int, str, Markup]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """The operations of one module."""

    name: str
    words: str
    operations: Sequence[Shown]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a model or a header of a record."""

    name: str
    kind: Markup
    required: bool
    words: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A component as a table of fields; an enumeration has none and says it all in words."""

    name: str
    words: Markup
    fields: Sequence[Field]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic with what travels on it."""

    address: str
    words: Markup
    title: str
    model: str
    headers: Sequence[Field]


def chapters(operations: Sequence[Operation]) -> list[Chapter]:
    """Operations by module, in the order of the table."""
    grouped = groupby(operations, key=lambda operation: operation.module)
    return [
        Chapter(name=name, words=TAGS[name], operations=[_shown(one) for one in some])
        for name, some in grouped
    ]


def topics(document: Mapping[str, Any]) -> list[Topic]:
    """Every channel of the AsyncAPI document."""
    return [_topic(channel, document["components"]["messages"]) for channel in document["channels"].values()]


def models(*documents: Mapping[str, Any]) -> list[Model]:
    """Every component of these documents, once, by name."""
    found = {name: schema for each in documents for name, schema in each["components"]["schemas"].items()}
    return [
        Model(
            name=name,
            words=prose(schema.get("description", "")) if "enum" not in schema else _kind(schema),
            fields=list(_fields(schema)),
        )
        for name, schema in sorted(found.items(), key=lambda item: item[0].lower())
    ]


def prose(text: str) -> Markup:
    """Plain words to HTML: `code`, and an empty line between paragraphs."""
    paragraphs = [_CODE.sub(r"<code>\1</code>", str(escape(part))) for part in text.split("\n\n") if part]
    return Markup("<br>").join(Markup(part) for part in paragraphs)  # noqa: S704 - escaped the line before


def _shown(operation: Operation) -> Shown:
    problems = [
        (status, code, prose(words)) for status, some in failures(operation).items() for code, words in some
    ]
    return Shown(
        operation=operation,
        description=prose(operation.description),
        body=model_of(operation.body) if operation.body else "",
        answers=[(one.status, prose(one.description), _model(one)) for one in operation.answers],
        problems=sorted(problems),
    )


def _model(answer: Answer) -> str:
    return model_of(answer.body) if answer.body is not None else ""


def _topic(channel: Mapping[str, Any], messages: Mapping[str, Any]) -> Topic:
    (name,) = channel["messages"]
    message = messages[name]
    return Topic(
        address=channel["address"],
        words=prose(channel["description"]),
        title=message["title"],
        model=message["payload"].get("$ref", "").rsplit("/", 1)[-1],
        headers=list(_fields(message["headers"])),
    )


def _fields(schema: Schema) -> Iterator[Field]:
    for name, inner in schema.get("properties", {}).items():
        yield Field(
            name=name,
            kind=_kind(inner),
            required=name in schema.get("required", ()),
            words=prose(inner.get("description", "")),
        )


def _kind(schema: Schema) -> Markup:
    """The type of a value in words, linked to its model."""
    limits = [words.format(schema[key]) for key, words in _LIMITS.items() if schema.get(key) is not None]
    return Markup(", ").join([_type(schema), *map(escape, limits)])


def _type(schema: Schema) -> Markup:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return Markup('<a href="#model-{0}">{0}</a>').format(name)
    if "anyOf" in schema:
        return Markup(" or ").join(_kind(one) for one in schema["anyOf"])
    if values := schema.get("enum") or [schema[key] for key in ("const",) if key in schema]:
        return Markup(" · ").join(Markup("<code>{}</code>").format(value) for value in values)
    if schema.get("type") == "array":
        return Markup("list of {}").format(_kind(schema.get("items", {})))
    if isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of {}").format(_kind(schema["additionalProperties"]))
    return escape(schema.get("format") or schema.get("type") or "any JSON")
