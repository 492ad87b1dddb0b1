"""What a new batch gets unless the form says otherwise, and who can judge it."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.cj.batch import BatchSettings
from app.cj.estimate import find, price, unpriced
from app.contracts import JudgeKind, LLMConfigOverrides, ModelList, Pricing


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChoice:
    """A judge a teacher can choose. `description` says honestly what it is; `pace` how fast it is, in words.

    `seconds_each` is the mean time per comparison with all that run at once, for the estimate on the button; None
    where nobody knows it.
    """

    name: str
    label: str
    description: str
    kind: JudgeKind
    settings: tuple[LLMConfigOverrides, ...]
    pace: str
    seconds_each: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDefaults:
    """The form's first values; the first judge is the one chosen. `seed` draws the seed of each new batch.

    `known` is what the provider says of its judges and their prices; `away` why it could not be asked.
    """

    judges: tuple[JudgeChoice, ...]
    comparisons_per_essay: int
    target_reliability: float
    random_rounds: int
    audit_share: float
    seed: Callable[[], int]
    expires_in: float = 86_400.0
    known: ModelList = ModelList(models=())
    away: str = ""

    def judge(self, name: str) -> JudgeChoice | None:
        """The choice of that name."""
        return next((choice for choice in self.judges if choice.name == name), None)

    def options_of(self, name: str) -> str:
        """How `rank` is asked for this choice on its command line; only what is not known without saying."""
        choice = self.judge(name)
        asked = choice.settings[0] if choice and choice.kind is JudgeKind.LLM else None
        if asked is None or not (info := find(asked, self.known)):
            return ""
        named = {"judge": info.provider, "model": info.model, "base-url": info.base_url}
        return "".join(f" --{option} {shlex.quote(value)}" for option, value in named.items() if value)

    def prices(self, choice: JudgeChoice) -> list[Pricing | None]:
        """What each judge of this choice takes; None where nobody knows."""
        return [price(asked, self.known) for asked in choice.settings]

    def unpriced(self, settings: BatchSettings) -> bool:
        """Whether nobody here knows what one of the judges takes; as long as the provider was never reached, no."""
        return bool(self.known.models) and bool(unpriced(settings.judges, self.known))

    def choice_of(self, settings: BatchSettings) -> JudgeChoice | None:
        """The choice these settings came from; None when they came from elsewhere or the choices have changed."""
        return next((choice for choice in self.judges if choice.settings == settings.judges), None)

    def kinds_of(self, settings: BatchSettings) -> tuple[str, ...]:
        """Who is asked, before anyone has answered: judge kinds, or the provider's name where the kind is unknown."""
        if (choice := self.choice_of(settings)) is not None:
            return (choice.kind.value,)
        known = {kind.value for kind in JudgeKind}
        names = (
            overrides.provider or (self.judges[0].kind.value if self.judges else "")
            for overrides in settings.judges
        )
        return tuple(dict.fromkeys(name if name in known else JudgeKind.LLM.value for name in names))


Offered = Callable[[], Awaitable[BatchDefaults]]
"""What is offered now."""
