"""What can be set, and where each value came from. Every setting and its default stands in config/default.toml."""

from app.settings.sections import JudgeLimits, LLMSettings, Section, Settings
from app.settings.sources import DEFAULTS, PREFIX, ROOT, VENDOR_KEYS, Sources, load

__all__ = [
    "DEFAULTS",
    "PREFIX",
    "ROOT",
    "VENDOR_KEYS",
    "JudgeLimits",
    "LLMSettings",
    "Section",
    "Settings",
    "Sources",
    "load",
]
