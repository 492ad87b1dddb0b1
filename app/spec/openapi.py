"""The HTTP API as an OpenAPI 3.1 document: the table of operations, and the schemas of the models themselves."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter

from app.contracts import Problem
from app.edge import PROBLEM_JSON
from app.errors import (
    Forbidden,
    JuxtaError,
    Misdirected,
    QueueFull,
    StoreUnavailable,
    Unauthorized,
    Unavailable,
)
from app.spec import cj, platform, provider
from app.spec.operation import SERVES, Answer, Operation, Parameter, Role
from app.spec.schemas import Mode, Schema, schemas

API_VERSION = "1.0"
TAGS = {
    "provider": "Gets verdicts from judges, at once or by callback.",
    "cj": "Batches of essays, ranked by comparative judgement.",
    "platform": "For whoever keeps the process running.",
}
_DESCRIPTION = """\
Comparative judgement of essays, and the callbacks that carry the verdicts (what is published: `/asyncapi.json`).

JSON in snake_case; moments are UTC (RFC 3339), durations are seconds. Unknown fields and unknown query parameters are \
refused. Every error is a problem document (RFC 9457): `type` names the failure for good, `hint` says what to do, \
`retryable` whether sending it again may help, `errors` the fields at fault, by name and never by value. \
HEAD is answered wherever GET is. A 500 is a bug, and a problem document too.

Keys matter where `auth.enabled` is set; by default the server listens on the loopback interface only, and everybody \
there may do everything. Any one of the scopes named at an operation suffices, and `admin` holds all of them."""
_PROBLEM = TypeAdapter(Problem)
_RETRY_AFTER = {
    "description": "Whole seconds to wait before sending the same request again.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
_CODE = re.compile(r"^- `([a-z-]+)`: ", re.MULTILINE)
_COME_BACK = (QueueFull.status, Unavailable.status)


def operations(role: Role) -> Sequence[Operation]:
    """What a process of this role serves."""
    found = (*provider.OPERATIONS, *cj.OPERATIONS, *platform.OPERATIONS)
    return [operation for operation in found if operation.module in SERVES[role]]


def openapi(role: Role = "all", *, keys: bool = False) -> dict[str, Any]:
    """The document of what a process of this role serves; `keys` says whether it asks for them."""
    served = operations(role)
    found, components = schemas(dict(_adapters(served)))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in served:
        paths[operation.path][operation.method.lower()] = _operation(operation, found, keys=keys)
    responses = _hoisted(paths)
    tags = [{"name": name, "description": words} for name, words in TAGS.items() if name in SERVES[role]]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Juxta",
            "version": API_VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that this document comes from."}],
        "tags": tags,
        "paths": dict(paths),
        "components": {
            "schemas": dict(components),
            "responses": responses,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "juxta_<id>_<secret>",
                    "description": "A key from `key new`.",
                }
            },
        },
    }


def _adapters(served: Sequence[Operation]) -> Iterator[tuple[str, tuple[TypeAdapter[Any], Mode]]]:
    yield "problem", (_PROBLEM, "serialization")
    for operation in served:
        if operation.body is not None:
            yield operation.name, (operation.body, "validation")
        for answer in operation.answers:
            if answer.body is not None:
                yield f"{operation.name} {answer.status}", (answer.body, "serialization")


def _hoisted(paths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Replace each problem with a single code, the same at many operations, by a reference; returns what is referred to."""
    shared: dict[str, Any] = {}
    for path in paths.values():
        for entry in path.values():
            for status, response in entry["responses"].items():
                codes = _CODE.findall(response["description"])
                if len(codes) == 1:
                    shared.setdefault(codes[0], response)
                    entry["responses"][status] = {"$ref": f"#/components/responses/{codes[0]}"}
    return dict(sorted(shared.items()))


def _operation(operation: Operation, found: Mapping[str, Schema], *, keys: bool) -> dict[str, Any]:
    scopes = " or ".join(f"`{scope}`" for scope in operation.scopes)
    words = [operation.description, f"Scope: {scopes}." if scopes else "Public."]
    entry: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.module],
        "summary": operation.summary,
        "description": "\n\n".join(filter(None, words)),
        "security": [
            *([] if keys or not operation.scopes else [{}]),
            *({"key": [s]} for s in operation.scopes),
        ],
    }
    if operation.parameters:
        entry["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        content = {"schema": found[operation.name], "examples": {"example": {"value": operation.example}}}
        entry["requestBody"] = {"required": True, "content": {"application/json": content}}
    responses = {
        str(answer.status): _answer(answer, found.get(f"{operation.name} {answer.status}"))
        for answer in operation.answers
    }
    for status, kinds in failures(operation).items():
        responses[str(status)] = _problem(status, kinds, found["problem"])
    entry["responses"] = dict(sorted(responses.items()))
    return entry


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "required": parameter.where == "path",
        "schema": dict(parameter.schema),
    }


def _answer(answer: Answer, schema: Schema | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"description": answer.description}
    if schema is not None:
        entry["content"] = {answer.media_type: {"schema": schema}}
    if answer.links:
        entry["links"] = {
            link.operation: {
                "operationId": link.operation,
                "parameters": {link.parameter: f"$response.body#{link.pointer}"},
            }
            for link in answer.links
        }
    return entry


def failures(operation: Operation) -> dict[int, list[tuple[str, str]]]:
    """The code and the words of every failure, by status; those at the gate are the same everywhere."""
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for kind in operation.problems:
        found[kind.status].append((kind.code, _first_line(kind)))
    gate = (Unauthorized, Forbidden, Misdirected, StoreUnavailable) if operation.scopes else (Misdirected,)
    for kind in gate:
        if kind not in operation.problems:
            found[kind.status].append((kind.code, _first_line(kind)))
    return found


def model_of(adapter: TypeAdapter[Any]) -> str:
    """The name of the component that describes what the adapter reads or writes; none for a plain type."""
    return str(adapter.json_schema().get("title", ""))


def _first_line(kind: type[JuxtaError]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _problem(status: int, kinds: Sequence[tuple[str, str]], schema: Schema) -> dict[str, Any]:
    words = "\n".join(f"- `{code}`: {line}" for code, line in kinds)
    entry: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}.\n\n{words}",
        "content": {PROBLEM_JSON: {"schema": schema}},
    }
    if status in _COME_BACK:
        entry["headers"] = {"Retry-After": _RETRY_AFTER}
    if status == HTTPStatus.UNAUTHORIZED:
        entry["headers"] = {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}}
    return entry
