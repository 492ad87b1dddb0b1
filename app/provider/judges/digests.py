"""What exactly was judged, as digests: a verdict can be traced to its texts without keeping them."""

from __future__ import annotations

import hashlib
import json


def text_sha256(text: str) -> str:
    """The sha256, in hex, of the text as it is: no trimming, no normalisation, UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def prompt_sha256(user_prompt: str, essay_a: str, essay_b: str) -> str:
    """The sha256, in hex, of the JSON array of the three texts in the order shown, UTF-8, without spaces."""
    texts = json.dumps([user_prompt, essay_a, essay_b], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(texts.encode()).hexdigest()
