"""The offline judge `rules`: five personas weigh counted features of two texts against fixed norms.

It compares truly and says why, but it does not read: see `features.py` for all that it measures and
`config/judges.toml` for what each measure counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from math import exp, hypot
from pathlib import Path

import anyio.to_thread

from app.contracts import JudgeKind, LLMComparisonRequest, LLMConfigOverrides, Winner
from app.errors import ConfigurationError, InvalidRequest
from app.provider.judges.digests import prompt_sha256, text_sha256
from app.provider.judges.features import FEATURES, Profile, has_words, pair_values, profile
from app.provider.judges.overrides import require_model
from app.provider.judges.panel import PANEL, Norm, load_panel, panel_faults
from app.provider.judges.protocol import JudgeError, Verdict

PROVIDER = "rules"
DEFAULT_MODEL = f"{PANEL}/balanced"
SCALE = 1.4826  # makes the MAD of a normal distribution its standard deviation
CLIP = 3.0
DECIMALS = 9  # of the margin: less is the noise of adding floats in another order, and a tie
LONG_TEXT = 20_000  # characters: measuring takes about 7 ms there; longer texts are measured in a thread
WORDS_KEPT = 500_000  # in the profiles kept, of all texts together: some 2,000 essays, some 40 MB
NOT_JUDGED = "Counts words and marks only. Does not read meaning, argument or truth."
LENGTH = "words"


class RulesJudge:
    """Decides by the sign of a weighted sum of differences; deterministic, and the same with the sides swapped.

    `pace`: seconds a comparison takes at least, so that people can watch; 0 for none. `length_term` off: the number
    of words does not count (its weight is 0), and every justification says so. `confidence` is 1 / (1 + exp(-|m|))
    of the margin m: 0.5 for a tie, toward 1 for a clear difference. It has the shape of a probability, but has never
    been calibrated against people.
    """

    kind = JudgeKind.RULES

    def __init__(
        self,
        *,
        norms: Mapping[str, Norm],
        weights: Mapping[str, float],
        personas: Mapping[str, Mapping[str, float]],
        minimum_words: int = 50,
        pace: float = 0.0,
        length_term: bool = True,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        if not length_term:
            weights = {**weights, LENGTH: 0.0}
        if faults := panel_faults(norms=norms, weights=weights, personas=personas):
            raise ConfigurationError("; ".join(faults))
        self._norms = tuple(
            (norms[it.name].median, it.sign / (SCALE * norms[it.name].mad)) for it in FEATURES
        )
        self._panel = {f"{PANEL}/{name}": _unit(weights, factors) for name, factors in personas.items()}
        self._minimum_words = minimum_words
        self._pace = pace
        self._not_judged = NOT_JUDGED if length_term else f"Length was not weighed. {NOT_JUDGED}"
        self._sleep = sleep
        self._profiles = _Profiles(WORDS_KEPT)

    @property
    def models(self) -> tuple[str, ...]:
        """The names that `llm_config_overrides.model` may hold."""
        return tuple(self._panel)

    def lane(self, overrides: LLMConfigOverrides) -> str:
        """One lane for the whole panel: its personas share the same processor and have no limits of their own."""
        require_model(overrides, provider=PROVIDER, models=self.models)
        return f"{PROVIDER}/{PANEL}"

    def check(self, request: LLMComparisonRequest) -> None:
        """Refuse essays that are too short."""
        short = [
            name
            for name in ("essay_a", "essay_b")
            if not has_words(getattr(request, name), self._minimum_words)
        ]
        if short:
            raise InvalidRequest(
                f"The rules judge reads essays of {self._minimum_words} words and more.",
                errors=tuple((name, f"has fewer than {self._minimum_words} words") for name in short),
            )

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        """Decide; `JudgeError` codes: `too_short`, `unknown_model`."""
        model = request.llm_config_overrides.model or DEFAULT_MODEL
        if model not in self._panel:
            raise JudgeError("unknown_model", f"This judge has no model {model!r}.")
        if self._pace > 0:
            await self._sleep(self._pace)
        question = await self._profiles.of(request.user_prompt)
        a = await self._profiles.of(request.essay_a)
        b = await self._profiles.of(request.essay_b)
        self._refuse_short(a, b)
        weighed = self._weigh(self._panel[model], a, b, question)
        margin = round(sum(weighed), DECIMALS)
        winner = Winner.ESSAY_A if margin > 0 else Winner.ESSAY_B if margin < 0 else Winner.TIE
        return Verdict(
            winner=winner,
            confidence=1 / (1 + exp(-abs(margin))),
            justification=f"{_reasons(model, winner, weighed, a, b)} {self._not_judged}",
            provider=PROVIDER,
            model=model,
            judge_kind=self.kind,
            prompt_sha256=prompt_sha256(request.user_prompt, request.essay_a, request.essay_b),
        )

    def _refuse_short(self, a: Profile, b: Profile) -> None:
        for name, essay in (("A", a), ("B", b)):
            if essay.words < self._minimum_words:
                detail = (
                    f"Essay {name} has {essay.words} words; below {self._minimum_words} rules cannot judge."
                )
                raise JudgeError("too_short", detail)

    def _weigh(self, weights: tuple[float, ...], a: Profile, b: Profile, question: Profile) -> list[float]:
        """Per feature: weight times (z of A - z of B). Swapping the essays negates each, exactly, hence their sum."""
        values_a, values_b = pair_values(a, b, question), pair_values(b, a, question)
        return [
            weight * (_clip((x - median) * per_unit) - _clip((y - median) * per_unit))
            for weight, x, y, (median, per_unit) in zip(weights, values_a, values_b, self._norms, strict=True)
        ]


def load_rules(
    path: Path,
    *,
    pace: float = 0.0,
    length_term: bool = True,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> RulesJudge:
    """The judge as the file describes it.

    :raises ConfigurationError: the file cannot be read, or its keys or numbers are wrong; all faults at once.
    """
    panel = load_panel(path)
    return RulesJudge(
        norms=panel.norms,
        weights=panel.weights,
        personas=panel.personas,
        minimum_words=panel.minimum_words,
        pace=pace,
        length_term=length_term,
        sleep=sleep,
    )


class _Profiles:
    """The profiles measured last, by digest; bounded by the words of their texts, and no essay's text is kept."""

    def __init__(self, words: int) -> None:
        self._room = words
        self._kept: OrderedDict[str, Profile] = OrderedDict()

    async def of(self, text: str) -> Profile:
        key = text_sha256(text)
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        if len(text) > LONG_TEXT:
            measured = await anyio.to_thread.run_sync(profile, text)
        else:
            measured = profile(text)
        if key not in self._kept:  # a twin may have measured it while this one was in its thread
            self._kept[key] = measured
            self._room -= measured.words
        while self._room < 0:
            _, dropped = self._kept.popitem(last=False)
            self._room += dropped.words
        return measured


def _unit(weights: Mapping[str, float], factors: Mapping[str, float]) -> tuple[float, ...]:
    """The persona's weights in the order of FEATURES, as a vector of length 1."""
    vector = [weights[feature.name] * factors.get(feature.name, 1.0) for feature in FEATURES]
    length = hypot(*vector)
    return tuple(weight / length for weight in vector)


def _clip(value: float) -> float:
    return -CLIP if value < -CLIP else min(value, CLIP)


def _reasons(model: str, winner: Winner, weighed: list[float], a: Profile, b: Profile) -> str:
    """The persona and the largest weighted differences, up to three for the winner and one against."""
    persona = model.partition("/")[2]
    if winner is Winner.TIE:
        same = (
            "no measured difference"
            if not any(round(part, DECIMALS) for part in weighed)
            else "the measured differences cancel out"
        )
        return f"Rules, persona {persona}: {same}."
    toward = 1 if winner is Winner.ESSAY_A else -1
    ranked = sorted(range(len(FEATURES)), key=lambda at: -abs(weighed[at]))
    least = abs(weighed[ranked[0]]) / 10  # a tenth of the largest is not worth a word
    told = [at for at in ranked if abs(weighed[at]) >= least]
    for_it = [at for at in told if weighed[at] * toward > 0][:3] or [
        max(ranked, key=lambda at: weighed[at] * toward)
    ]
    against = [at for at in told if weighed[at] * toward < 0][:1]
    first, second = ("A", "B") if toward > 0 else ("B", "A")
    more = abs(a.words - b.words)
    reasons = f"Rules, persona {persona}. Essay {first}: {_praise(for_it, more)}."
    return f"{reasons} Against that, essay {second}: {_praise(against, more)}." if against else reasons


def _praise(told: list[int], more_words: int) -> str:
    unit = "word" if more_words == 1 else "words"
    length = f"longer by {more_words} {unit}"
    return ", ".join(length if FEATURES[at].name == LENGTH else FEATURES[at].praise for at in told)
