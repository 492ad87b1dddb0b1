"""What the provider tells of itself without judging anything: how its lanes are, and which judges can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.contracts import LLMConfigOverrides, ModelInfo, ModelList, ProviderStatus, ProviderTest
from app.errors import InvalidRequest, JudgeUnavailable, NotFound
from app.provider.judges.protocol import JudgeError, Judges
from app.provider.lane import Lanes
from app.provider.queue.protocol import RequestQueue

if TYPE_CHECKING:
    from app.provider.judges.llm.probe import Probe  # slow to import, and most starts need none

PASSING = frozenset({"unavailable", "timeout"})
"""What mends itself: a batch may begin, and waits."""


async def tested(name: str, probe: Probe | None, offered: Sequence[str]) -> ProviderTest:
    """Ask a provider now, in a way that costs nothing; who has no probe is here."""
    if probe is None:
        return ProviderTest(provider=name, ok=True, words="It judges in this process and needs nobody.")
    try:
        found = await probe.look()
    except JudgeError as error:
        return ProviderTest(provider=name, ok=False, words=error.detail)
    missing = tuple(model for model in offered if found.models is not None and model not in found.models)
    return ProviderTest(provider=name, ok=True, words=found.words, missing=missing, seconds=found.seconds)


class Status:
    """Answers from memory and from the counters of the ledger; only providers of language models are asked.

    `models` are what can be asked for, `probes` ask a provider whether it would.
    """

    def __init__(
        self,
        *,
        queue: RequestQueue,
        lanes: Lanes,
        judges: Judges,
        default_provider: str,
        models: Sequence[ModelInfo] = (),
        probes: Mapping[str, Probe] | None = None,
    ) -> None:
        self._queue = queue
        self._lanes = lanes
        self._judges = judges
        self._default_provider = default_provider
        self._models = ModelList(models=tuple(models))
        self._probes = probes or {}

    def now(self) -> ProviderStatus:
        """Every lane as it is this moment."""
        return ProviderStatus(
            lanes=tuple(lane.status(self._queue.waiting(lane.name)) for lane in self._lanes)
        )

    def models(self) -> ModelList:
        """What can be asked for, and what it costs."""
        return self._models

    async def check(self, asked: LLMConfigOverrides) -> str:
        """Name the lane of a judge configuration, so that a batch is refused that could only fail.

        :raises InvalidRequest: there is no such judge, it cannot honour an override, or its provider refuses the key.
        """
        name, lane = self._lane(asked)
        if name in self._probes:
            try:
                await self._probes[name].known()
            except JudgeError as error:
                if error.code not in PASSING:
                    raise InvalidRequest(
                        f"The judge {name!r} cannot be asked: {error.detail}",
                        errors=(("provider", error.detail),),
                        hint=_where_its_key_is(name) if error.code == "auth" else None,
                    ) from error
        return lane

    async def insist(self, asked: LLMConfigOverrides) -> None:
        """As `check`, for who cannot wait.

        :raises JudgeUnavailable: its provider refuses the key, or cannot be reached now.
        """
        name, _ = self._lane(asked)
        if name in self._probes:
            try:
                await self._probes[name].known()
            except JudgeError as error:
                raise JudgeUnavailable(
                    f"The judge {name!r} cannot be asked: {error.detail}", hint=_where_its_key_is(name)
                ) from error

    async def test(self, name: str) -> ProviderTest:
        """Ask a provider now, in a way that costs nothing.

        :raises NotFound: there is no such judge.
        """
        if name not in self._judges:
            raise NotFound(f"There is no judge {name!r} here; there are: {', '.join(self._judges)}.")
        offered = [info.model for info in self._models.models if info.provider == name]
        return await tested(name, self._probes.get(name), offered)

    def _lane(self, asked: LLMConfigOverrides) -> tuple[str, str]:
        name = asked.provider or self._default_provider
        judge = self._judges.get(name)
        if judge is None:
            raise InvalidRequest(
                f"There is no judge {name!r} here; there are: {', '.join(self._judges)}.",
                errors=(("provider", "unknown provider"),),
            )
        return name, judge.lane(asked)


def _where_its_key_is(name: str) -> str:
    return (
        f"`providers test {name}` says how it is. The vendor's own variable, such as OPENAI_API_KEY, is sent to the"
        f" vendor alone; at any other address the key is JUXTA_JUDGES__{name.upper()}__KEY, or judges.{name}.key."
    )
