"""The JSON Schemas of everything that is read or written, by the adapters that read and write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

Mode = Literal["validation", "serialization"]
Schema = dict[str, Any]


class _Plain(GenerateJsonSchema):
    """Without a title for each field: it says again what the name of the field says."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def schemas(
    adapters: Mapping[str, tuple[TypeAdapter[Any], Mode]],
) -> tuple[Mapping[str, Schema], Mapping[str, Schema]]:
    """The schema of each adapter, by its key, and the components that these refer to."""
    found, shared = TypeAdapter.json_schemas(
        [(key, mode, adapter) for key, (adapter, mode) in adapters.items()],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Plain,
    )
    return {str(key): schema for (key, _), schema in found.items()}, shared["$defs"]
