"""The vendors of language models: where each answers, and where people keep the key that it gave them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Vendor(NamedTuple):
    """`key_variable` is in the environment."""

    base_url: str
    key_variable: str


VENDORS: Mapping[str, Vendor] = {
    "openai": Vendor("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": Vendor("https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "google": Vendor("https://generativelanguage.googleapis.com", "GEMINI_API_KEY"),
}
"""By the wire format, which is named for who made it and is spoken by other servers too."""


def is_vendor(name: str, base_url: str) -> bool:
    """Whether this is the address of the vendor itself: it alone is shown its key, and answers nobody without one."""
    return base_url.rstrip("/") == VENDORS[name].base_url
