"""The documents as they are served, and the page that shows them to people: offline, and readable without JavaScript."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.spec.openapi import operations
from app.spec.operation import Role
from app.spec.page import chapters, models, topics


@dataclass(frozen=True, slots=True)
class Served:
    """Both documents as JSON, and what the page `docs.html` is filled with."""

    openapi: bytes
    asyncapi: bytes
    page: Mapping[str, Any]


def served(role: Role, *, openapi: dict[str, Any], asyncapi: dict[str, Any]) -> Served:
    """What a process of this role serves."""
    page = {
        "pages": role != "provider",
        "chapters": chapters(operations(role)),
        "topics": topics(asyncapi),
        "models": models(openapi, asyncapi),
    }
    return Served(_written(openapi), _written(asyncapi), page)


def _written(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
