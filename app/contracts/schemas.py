"""The wire as JSON Schema, for readers in other languages: `python -m app.contracts.schemas docs/schemas`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from app.contracts.comparison import ComparisonQueued, LLMComparisonRequest, LLMComparisonResponse
from app.contracts.events import EventEnvelope, LLMOrchestratorResponse
from app.contracts.problem import Problem

MODELS: Mapping[str, type[BaseModel]] = {
    "comparison-request": LLMComparisonRequest,
    "comparison-response": LLMComparisonResponse,
    "comparison-queued": ComparisonQueued,
    "comparison-result": EventEnvelope[LLMOrchestratorResponse],
    "problem": Problem,
}


def schema(name: str) -> str:
    """One schema as text, stable enough to be committed and compared."""
    mode: Literal["validation", "serialization"]
    mode = "validation" if name == "comparison-request" else "serialization"
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:juxta:schema:{name}",
        **MODELS[name].model_json_schema(mode=mode),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def export(folder: Path) -> None:
    """Write every schema into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        (folder / f"{name}.json").write_text(schema(name), encoding="utf-8")


if __name__ == "__main__":
    export(Path(sys.argv[1]))
