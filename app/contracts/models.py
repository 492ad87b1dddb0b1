"""What judges there are and what they cost: for those who choose, and for those who pay."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from app.contracts.comparison import Dollars, JudgeKind, Tally
from app.contracts.wire import Text, Tolerant


class Pricing(Tolerant):
    """US dollars for a million tokens, as somebody read them on the day `on`; all 0 for who costs nothing."""

    prompt: Dollars
    completion: Dollars
    cached: Dollars | None = None
    on: date | None = None


class ModelInfo(Tolerant):
    """A judge that can be asked by `llm_config_overrides.provider` and `model`.

    Without `price` nobody here knows what it costs. A prompt has about its bytes / `bytes_per_token` tokens, an answer
    at most `answer_tokens`; both are null for judges that count none.
    """

    provider: Text
    model: Text
    kind: JudgeKind
    price: Pricing | None
    context_tokens: Tally | None = None
    answer_tokens: Tally | None = None
    bytes_per_token: float | None = Field(None, gt=0)
    efforts: tuple[Text, ...] = ()


class ModelList(Tolerant):
    """GET /api/v1/models: of each provider the first is asked unless a request names another."""

    models: tuple[ModelInfo, ...]
