"""The wire and nothing else: what travels over HTTP and the bus. Imports nothing of ours."""

from app.contracts.comparison import (
    ComparisonQueued,
    JudgeKind,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    Outcome,
    TokenUsage,
    Winner,
)
from app.contracts.events import EventEnvelope, LLMOrchestratorResponse
from app.contracts.models import ModelInfo, ModelList, Pricing, ProviderTest, UsageReport, UsageRow
from app.contracts.problem import FieldError, Problem
from app.contracts.provider import JudgeAccepted, LaneStatus, ProviderStatus
from app.contracts.topics import COMPARISON_RESULT_TOPIC, COMPARISON_RESULT_TYPE, is_legal_topic

__all__ = [
    "COMPARISON_RESULT_TOPIC",
    "COMPARISON_RESULT_TYPE",
    "ComparisonQueued",
    "EventEnvelope",
    "FieldError",
    "JudgeAccepted",
    "JudgeKind",
    "LLMComparisonRequest",
    "LLMComparisonResponse",
    "LLMConfigOverrides",
    "LLMOrchestratorResponse",
    "LaneStatus",
    "ModelInfo",
    "ModelList",
    "Outcome",
    "Pricing",
    "Problem",
    "ProviderStatus",
    "ProviderTest",
    "TokenUsage",
    "UsageReport",
    "UsageRow",
    "Winner",
    "is_legal_topic",
]
