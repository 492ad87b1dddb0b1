"""The panel of the offline judge: norms, weights and personas, read from `config/judges.toml` and checked whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import ConfigurationError
from app.provider.judges.features import FEATURES

PANEL = "panel-v1"
PERSONAS = ("balanced", "language", "structure", "accuracy", "content")

Weight = Annotated[float, Field(ge=0)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Norm(_Table):
    """Where a feature usually lies, and how far its values usually are from there (never 0)."""

    median: float
    mad: float = Field(gt=0)


class Panel(_Table):
    """The table `rules` of the file. Every feature has a norm and a weight; a persona's factors are optional."""

    minimum_words: int = Field(50, ge=1)
    norms: Mapping[str, Norm]
    weights: Mapping[str, Weight]
    personas: Mapping[str, Mapping[str, Weight]]


class _File(_Table):
    rules: Panel


def load_panel(path: Path) -> Panel:
    """Read and check the file.

    :raises ConfigurationError: it cannot be read, or its keys or numbers are wrong; all faults are named at once.
    """
    try:
        panel = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).rules
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ConfigurationError(f"{path}: {'; '.join(faults)}") from error
    if faults := panel_faults(norms=panel.norms, weights=panel.weights, personas=panel.personas):
        raise ConfigurationError(f"{path}: {'; '.join(faults)}")
    return panel


def panel_faults(
    *,
    norms: Mapping[str, Norm],
    weights: Mapping[str, float],
    personas: Mapping[str, Mapping[str, float]],
) -> list[str]:
    """What is missing, unknown or void, as lines that name the key."""
    features = [feature.name for feature in FEATURES]
    faults = [
        *_wrong_keys("rules.norms", norms, features),
        *_wrong_keys("rules.weights", weights, features),
        *_wrong_keys("rules.personas", personas, PERSONAS),
    ]
    for persona, factors in personas.items():
        faults += _unknown_keys(f"rules.personas.{persona}", factors, features)
        if not any(weight * factors.get(name, 1.0) for name, weight in weights.items()):
            faults.append(f"rules.personas.{persona}: every weight is 0")
    return faults


def _wrong_keys(table: str, given: Mapping[str, object], expected: list[str] | tuple[str, ...]) -> list[str]:
    missing = [f"{table}.{key}: missing" for key in expected if key not in given]
    return missing + _unknown_keys(table, given, expected)


def _unknown_keys(table: str, given: Mapping[str, object], known: list[str] | tuple[str, ...]) -> list[str]:
    return [f"{table}.{key}: unknown; known are {', '.join(known)}" for key in given if key not in known]
