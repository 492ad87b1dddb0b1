"""What can be set, and where each value came from. Every setting and its default stands in config/default.toml."""

from app.settings.sections import JudgeLimits, LLMSettings, Section, Settings
from app.settings.sources import DEFAULTS, PREFIX, ROOT, Sources, load, rooted
from app.settings.vendors import VENDORS, is_vendor

__all__ = [
    "DEFAULTS",
    "PREFIX",
    "ROOT",
    "VENDORS",
    "JudgeLimits",
    "LLMSettings",
    "Section",
    "Settings",
    "Sources",
    "is_vendor",
    "load",
    "rooted",
]
