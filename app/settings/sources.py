"""Where settings come from: defaults, a file, the environment, the command line, the later one winning."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.errors import ConfigurationError
from app.settings.faults import faults
from app.settings.sections import Settings
from app.settings.vendors import VENDORS, is_vendor

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = ROOT / "config" / "default.toml"
PREFIX = "JUXTA_"
NO_SETTINGS = frozenset({"JUXTA_KEY"})
"""What commands that talk to a running server take from the environment themselves."""

Sources = dict[str, str]


def rooted(path: Path) -> Path:
    """A file of the installation, wherever the process was started."""
    return path if path.is_absolute() or path.exists() else ROOT / path


def load(
    file: Path | None = None,
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    *,
    serving: bool = True,
) -> tuple[Settings, Sources]:
    """Read defaults, file, environment and `key.sub=value` assignments, the later one winning.

    A command that does not serve may be given the settings of a server, whatever its role.
    Returns the settings and, for each dotted key, the name of its source.

    :raises ConfigurationError: with every fault found, one line each.
    """
    values: dict[str, Any] = {}
    sources: Sources = {}
    for name, layer in (
        ("default", _toml(DEFAULTS)),
        *([(str(file), _toml(file))] if file else []),
        ("environment", _environment(environment)),
        ("command line", _assigned(assignments)),
    ):
        _merge(values, layer, sources, name)
    _take_vendor_keys(values, sources, environment)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines = [_line(fault, sources) for fault in error.errors()]
        raise ConfigurationError("\n".join(lines)) from error
    if found := faults(settings, serving=serving):
        raise ConfigurationError("\n".join(found))
    return settings, sources


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: is no TOML ({error})") from error


def _environment(environment: Mapping[str, str]) -> dict[str, Any]:
    pairs = [
        (name[len(PREFIX) :].lower().replace("__", "."), value)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX) and name not in NO_SETTINGS
    ]
    return _nested(pairs)


def _take_vendor_keys(values: dict[str, Any], sources: Sources, environment: Mapping[str, str]) -> None:
    """The keys that people have already, for the vendors that gave them: no other server is shown one."""
    judges = values["judges"]
    if not isinstance(judges, dict):
        return
    for name, vendor in VENDORS.items():
        section, given = judges.get(name), environment.get(vendor.key_variable, "").strip()
        if not (given and isinstance(section, dict)) or section.get("key"):
            continue
        if is_vendor(name, str(section.get("base_url"))):
            section["key"] = given
            sources[f"judges.{name}.key"] = f"environment, {vendor.key_variable}"


def _assigned(assignments: Sequence[str]) -> dict[str, Any]:
    pairs = []
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        if not sign:
            raise ConfigurationError("--set: write each as key.sub=value; what is given has no = in it")
        pairs.append((key.strip(), value.strip()))
    return _nested(pairs)


def _nested(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    defaults = _toml(DEFAULTS)
    tree: dict[str, Any] = {}
    for key, value in pairs:
        *sections, last = key.split(".")
        place, known = tree, defaults
        for section in sections:
            place, known = place.setdefault(section, {}), known.get(section, {})
            if not isinstance(place, dict):
                raise ConfigurationError(f"{key}: {section} is a value, not a section")
        is_text = isinstance(known, dict) and isinstance(known.get(last), str)
        place[last] = value if is_text and value[:1] not in {'"', "'"} else _parsed(value)
    return tree


def _parsed(value: str) -> Any:
    """A list, number or truth value as TOML writes it; anything else is text. What is text is not parsed: passwords."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _merge(
    into: dict[str, Any], layer: Mapping[str, Any], sources: Sources, name: str, path: str = ""
) -> None:
    for key, value in layer.items():
        dotted = f"{path}{key}"
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, sources, name, f"{dotted}.")
        else:
            into[key] = value
            sources[dotted] = name


def _is_section(key: str) -> bool:
    place: Any = _toml(DEFAULTS)
    for part in key.split("."):
        place = place.get(part) if isinstance(place, dict) else None
    return isinstance(place, dict)


_SECRET = ("key", "password", "url")


def _line(fault: Any, sources: Sources) -> str:
    key = ".".join(map(str, fault["loc"]))
    origin = sources.get(key) or next(
        (name for other, name in sources.items() if other.startswith(f"{key}.")), None
    )
    where = f" (from {origin})" if origin else ""
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown setting{where}; all settings stand in config/default.toml"
    secret = key.endswith(_SECRET) or _is_section(
        key
    )  # a key written where its section stands is still a key
    shown = "what is given" if secret else repr(fault["input"])
    return f"{key}: {shown}{where} is not allowed: {fault['msg'].lower()}"
