"""The list of models, as each format has it: free to ask, and a test of the key."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from tests.fake_llm.dialect import dump
from tests.fake_llm.http import Answer, Request

EXAMPLES = ("fake-large-1", "fake-small-1")
_PATH = re.compile(r"/v1(?:beta)?/models/?$")
SINCE = "2026-01-01T00:00:00Z"


def list_models(request: Request, names: Collection[str] | None) -> Answer | None:
    """The answer to `GET …/models`; none to any other request."""
    if request.method != "GET" or _PATH.search(request.path) is None:
        return None
    known = list(names or EXAMPLES)
    return Answer(200, dump(_written(format_of(request), known)))


def format_of(request: Request) -> str:
    """Whose words a request speaks whose path says nothing."""
    if "x-goog-api-key" in request.headers or "key" in request.query or request.path.startswith("/v1beta"):
        return "google"
    return "anthropic" if "anthropic-version" in request.headers else "openai"


def _written(name: str, known: list[str]) -> dict[str, Any]:
    match name:
        case "google":
            methods = {"version": "001", "supportedGenerationMethods": ["generateContent"]}
            return {
                "models": [{"name": f"models/{model}", "displayName": model, **methods} for model in known]
            }
        case "anthropic":
            data = [
                {"type": "model", "id": model, "display_name": model, "created_at": SINCE} for model in known
            ]
            return {"data": data, "has_more": False, "first_id": known[0], "last_id": known[-1]}
        case _:
            fixed: dict[str, Any] = {"object": "model", "created": 1_764_000_000, "owned_by": "fake"}
            return {"object": "list", "data": [{"id": model, **fixed} for model in known]}
