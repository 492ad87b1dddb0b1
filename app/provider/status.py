"""What the provider tells of itself without judging anything: how its lanes are, and which judges can be asked."""

from __future__ import annotations

from app.contracts import LLMConfigOverrides, ProviderStatus
from app.errors import InvalidRequest
from app.provider.judges.protocol import Judges
from app.provider.lane import Lanes
from app.provider.queue.protocol import RequestQueue


class Status:
    """Answers from memory and from the counters of the ledger."""

    def __init__(self, *, queue: RequestQueue, lanes: Lanes, judges: Judges, default_provider: str) -> None:
        self._queue = queue
        self._lanes = lanes
        self._judges = judges
        self._default_provider = default_provider

    def now(self) -> ProviderStatus:
        """Every lane as it is this moment."""
        return ProviderStatus(
            lanes=tuple(lane.status(self._queue.waiting(lane.name)) for lane in self._lanes)
        )

    def check(self, asked: LLMConfigOverrides) -> str:
        """Name the lane of a judge configuration, so that a batch is refused that could only fail.

        :raises InvalidRequest: there is no such judge, or it cannot honour an override.
        """
        name = asked.provider or self._default_provider
        judge = self._judges.get(name)
        if judge is None:
            raise InvalidRequest(
                f"There is no judge {name!r} here; there are: {', '.join(self._judges)}.",
                errors=(("provider", "unknown provider"),),
            )
        return judge.lane(asked)
