"""What each vendor's structured output refuses in a JSON schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Node = tuple[tuple[str, ...], Mapping[str, Any]]

OPENAI_REFUSES = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "patternProperties",
    "default",
)
ANTHROPIC_REFUSES = {
    "string": ("minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("maxItems", "uniqueItems"),
}
GOOGLE_KNOWS = {
    "type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties", "required",
    "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf", "propertyOrdering",
    "default", "items", "minimum", "maximum",
}  # fmt: skip
GOOGLE_TYPES = {"string", "number", "integer", "boolean", "array", "object", "null"}


def openai_flaw(schema: Mapping[str, Any]) -> str | None:
    """What strict mode refuses, in its words; none when it takes it."""
    if schema.get("type") != "object":
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."
    for path, node in _nodes(schema):
        where = f"In context=({', '.join(map(repr, path))}{',' if len(path) == 1 else ''})"
        if "$ref" in node and (beside := sorted(node.keys() - {"$ref", "$defs"})):
            return f"{where}, $ref cannot have keywords {set(beside)}."
        if refused := next((word for word in OPENAI_REFUSES if word in node), None):
            return f"{where}, '{refused}' is not permitted."
        if node.get("type") != "object":
            continue
        if node.get("additionalProperties") is not False:
            return f"{where}, 'additionalProperties' is required to be supplied and to be false."
        missing = [key for key in node.get("properties", {}) if key not in node.get("required", ())]
        if missing:
            return (
                f"{where}, 'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{missing[0]}'."
            )
    return None


def anthropic_flaw(schema: Mapping[str, Any]) -> str | None:
    """What the output format refuses; none when it takes it."""
    for _, node in _nodes(schema):
        kind = node.get("type")
        if kind == "object" and node.get("additionalProperties") is not False:
            return "For 'object' type, 'additionalProperties' must be explicitly set to false"
        refused = [word for word in ANTHROPIC_REFUSES.get(str(kind), ()) if word in node]
        if refused:
            return f"For '{kind}' type, properties {', '.join(refused)} are not supported"
        if kind == "array" and node.get("minItems", 0) not in {0, 1}:
            return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    return None


def google_flaw(schema: Mapping[str, Any]) -> str | None:
    """What `responseSchema`, a subset of OpenAPI's, does not know; none when it knows all."""
    for path, node in _nodes(schema):
        where = ".".join(["generation_config.response_schema", *path])
        if unknown := sorted(node.keys() - GOOGLE_KNOWS):
            return f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at '{where}': Cannot find field."
        kind = node.get("type")
        if not isinstance(kind, str) or kind.lower() not in GOOGLE_TYPES:
            return f"Invalid value at '{where}.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type)"
        if kind.lower() == "object" and not node.get("properties"):
            return f"* GenerateContentRequest.{where}.properties: should be non-empty for OBJECT type\n"
        if stray := sorted(set(node.get("required", ())) - set(node.get("properties", {}))):
            return f"* GenerateContentRequest.{where}.required: property is not defined: {stray[0]}\n"
    return None


def _nodes(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Node]:
    """Each schema within, with its path; itself first."""
    yield path, schema
    for group in ("properties", "$defs"):
        for name, node in schema.get(group, {}).items():
            yield from _nodes(node, (*path, group, name))
    for group in ("anyOf", "allOf", "oneOf"):
        for number, node in enumerate(schema.get(group, ())):
            yield from _nodes(node, (*path, group, str(number)))
    if isinstance(items := schema.get("items"), Mapping):
        yield from _nodes(items, (*path, "items"))
