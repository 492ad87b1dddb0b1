"""Fills any JSON schema with a verdict: what the constrained decoding of a real model does with a real opinion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.fake_llm.judging import Opinion

# Asked for JSON without a schema, a model follows the prompt; this one gives what Juxta's prompt asks for.
DEFAULT: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "justification": {"type": "string"},
        "winner": {"enum": ["A", "B", "tie"]},
        "confidence": {"enum": ["very_low", "low", "medium", "high", "very_high"]},
    },
}
HIGHEST_FIRST = re.compile(r"high|certain|sure|strong", re.IGNORECASE)
DEPTH = 16


def fill(schema: Mapping[str, Any], opinion: Opinion) -> dict[str, Any]:
    """An object that the schema allows: `winner`, `confidence` and words by their names, the rest by its type."""
    filled = _value("", schema, schema, opinion, DEPTH)
    return filled if isinstance(filled, dict) else {"value": filled}


def _value(
    name: str, schema: Mapping[str, Any], root: Mapping[str, Any], opinion: Opinion, depth: int
) -> Any:
    schema = _resolved(schema, root)
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return _choice(name, values, opinion)
    kind = _type(schema)
    if kind == "object" and depth:
        fields = schema.get("properties", {}).items()
        return {key: _value(key, each, root, opinion, depth - 1) for key, each in fields}
    if kind == "array" and depth:
        item = _value(name, schema.get("items", {}), root, opinion, depth - 1)
        return [item] * int(schema.get("minItems", 1))
    if kind in {"number", "integer"}:
        return _number(schema, opinion, whole=kind == "integer")
    if kind in {"boolean", "null"}:
        return None if kind == "null" else opinion.winner != "tie"
    return _words(name, schema, opinion)


def _words(name: str, schema: Mapping[str, Any], opinion: Opinion) -> str:
    if "winner" in name.lower():
        return opinion.winner
    words = (
        f"Essay {opinion.winner} argues its point better."
        if opinion.winner != "tie"
        else "They are the same."
    )
    return words[: int(schema.get("maxLength", len(words)))]


def _choice(name: str, values: Sequence[Any], opinion: Opinion) -> Any:
    """The value that names the winner, or the level of confidence; any other list is answered by its first."""
    for value in values:
        word = re.sub(r"[^a-z]|essay", "", str(value).lower())
        if word == opinion.winner.lower() and "confid" not in name.lower():
            return value
    if "confid" in name.lower():
        ordered = list(reversed(values)) if HIGHEST_FIRST.search(str(values[0])) else list(values)
        return ordered[min(len(ordered) - 1, int((2 * opinion.confidence - 1) * len(ordered)))]
    return values[0]


def _number(schema: Mapping[str, Any], opinion: Opinion, *, whole: bool) -> float:
    low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", 1))
    value = low + (high - low) * opinion.confidence
    return round(value) if whole else round(value, 4)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(DEPTH):
        if isinstance(reference := schema.get("$ref"), str):
            target: Any = root
            for part in reference.removeprefix("#").strip("/").split("/"):
                target = target[part] if part else target
            schema = target
        elif options := schema.get("anyOf") or schema.get("oneOf"):
            schema = options[0]
        elif len(parts := schema.get("allOf", ())) == 1:
            schema = parts[0]
        else:
            break
    return schema


def _type(schema: Mapping[str, Any]) -> str:
    """Lower case, as Google writes upper case; the first of several."""
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return str(kind if isinstance(kind, str) else kind[0]).lower()
