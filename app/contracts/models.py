"""What judges there are and what they cost, and what was spent: for those who choose, and for those who pay."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from app.contracts.comparison import Dollars, JudgeKind, Tally
from app.contracts.wire import Text, Tolerant


class Pricing(Tolerant):
    """US dollars for a million tokens, as somebody read them on the day `on`; all 0 for who costs nothing.

    What is read from or written to a cache costs like the rest of a prompt, unless it has a price here.
    """

    prompt: Dollars
    completion: Dollars
    cached: Dollars | None = None
    cache_written: Dollars | None = None
    on: date | None = None


class ModelInfo(Tolerant):
    """A judge that can be asked by `llm_config_overrides.provider` and `model`.

    Without `price` nobody here knows what it costs. A prompt has about its bytes / `bytes_per_token` tokens, an answer
    at most `answer_tokens`; both are null for judges that count none.
    `base_url` is where question and essays are sent; empty for judges that send nothing.
    """

    provider: Text
    model: Text
    kind: JudgeKind
    price: Pricing | None
    context_tokens: Tally | None = None
    answer_tokens: Tally | None = None
    bytes_per_token: float | None = Field(None, gt=0)
    efforts: tuple[Text, ...] = ()
    base_url: Text = ""


class ModelList(Tolerant):
    """GET /api/v1/models: of each provider the first is asked unless a request names another."""

    models: tuple[ModelInfo, ...]


class ProviderTest(Tolerant):
    """POST /api/v1/providers/{provider}/test: whether it can be asked now; `words` says what it answered.

    `missing` are models offered here that the provider does not list.
    """

    provider: Text
    ok: bool
    words: Text
    missing: tuple[Text, ...] = ()
    seconds: float = Field(0.0, ge=0)


class UsageRow(Tolerant):
    """What one asker spent on one model on one day (UTC).

    `calls` are requests to the provider, repairs and failures included. `unpriced` of them have no known price, and
    `cost_usd` is without them.
    """

    day: date
    principal: Text
    provider: Text
    model: Text
    calls: Tally
    verdicts: Tally
    prompt_tokens: Tally
    cached_tokens: Tally
    completion_tokens: Tally
    cost_usd: Dollars
    unpriced: Tally


class UsageReport(Tolerant):
    """GET /api/v1/usage: the latest day first. Language models only; other judges cost nothing."""

    rows: tuple[UsageRow, ...]

    @property
    def cost_usd(self) -> float:
        """All of it together."""
        return sum(row.cost_usd for row in self.rows)
