"""Topic names, and which names Kafka can carry."""

from __future__ import annotations

import re

COMPARISON_RESULT_TOPIC = "huleedu.llm_provider.comparison_result.v1"
COMPARISON_RESULT_TYPE = COMPARISON_RESULT_TOPIC
"""The `event_type` of a result, on whatever topic an installation has its results published."""

_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def is_legal_topic(name: str) -> bool:
    """Whether Kafka would take the name; an illegal one makes its clients hang instead of fail."""
    return bool(_LEGAL.fullmatch(name)) and name not in {".", ".."}
