"""What can be set, and where each value came from. Every setting and its default stands in config/default.toml."""

from app.settings.sections import JudgeLimits, Section, Settings
from app.settings.sources import DEFAULTS, PREFIX, ROOT, Sources, load

__all__ = ["DEFAULTS", "PREFIX", "ROOT", "JudgeLimits", "Section", "Settings", "Sources", "load"]
