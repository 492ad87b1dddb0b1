"""The form offers whom the provider offers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import pytest

from app.contracts import JudgeKind, ModelInfo, ModelList, Pricing
from app.errors import ProviderUnavailable
from app.web import provider as web_provider
from app.web import words
from app.web.provider import Offers
from tests.cj.conftest import ScriptedProvider
from tests.web.conftest import DEFAULTS, FREE, new_batch

pytestmark = pytest.mark.anyio
KNOWN = ModelList(
    models=(
        ModelInfo(provider="rules", model="panel-v1/balanced", kind=JudgeKind.RULES, price=FREE),
        ModelInfo(provider="rules", model="panel-v1/content", kind=JudgeKind.RULES, price=FREE),
        ModelInfo(
            provider="openai",
            model="big",
            kind=JudgeKind.LLM,
            price=Pricing(prompt=2.5, completion=10, on=date(2026, 11, 1)),
        ),
        ModelInfo(provider="openai", model="strange", kind=JudgeKind.LLM, price=None),
        ModelInfo(provider="simulated", model="simulated-v1", kind=JudgeKind.SIMULATED, price=FREE),
    )
)
OWN = replace(DEFAULTS, judges=DEFAULTS.judges[:1], known=ModelList(models=()))


@dataclass
class Fleeting(ScriptedProvider):
    """A provider that may be away."""

    away: bool = False
    asked: int = 0

    async def models(self) -> ModelList:
        self.asked += 1
        if self.away:
            raise ProviderUnavailable("It did not answer.")
        return KNOWN


async def test_each_model_is_a_choice_and_a_panel_is_one() -> None:
    found = await Offers(Fleeting(), OWN, first="openai")()
    assert [choice.name for choice in found.judges] == [
        "openai/big",
        "openai/strange",
        "rules",
        "simulated/simulated-v1",
    ]
    big, strange, rules, _ = found.judges
    assert big.pace == "2.5 USD per million tokens read, 10 written, as of 2026-11-01"
    assert strange.pace == "price unknown"
    assert rules is DEFAULTS.judges[0]
    assert found.known == KNOWN
    assert found.kinds_of(new_batch(judges=big.settings).settings) == ("llm",)


async def test_a_provider_that_is_away_leaves_what_it_said_last_or_the_houses_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web_provider, "OFFERS_AGE", 0.0)
    provider = Fleeting(away=True)
    ask = Offers(provider, OWN, first="rules")
    found = await ask()
    assert (found.judges, found.away) == (OWN.judges, "It did not answer.")
    provider.away = False
    found = await ask()
    assert (len(found.judges), found.away) == (4, "")
    provider.away = True
    found = await ask()
    assert (len(found.judges), found.away) == (4, "It did not answer.")


async def test_the_provider_is_not_asked_for_each_page() -> None:
    provider = Fleeting()
    ask = Offers(provider, OWN, first="rules")
    assert await ask() == await ask()
    assert provider.asked == 1


def test_a_model_that_costs_nothing_says_so() -> None:
    assert words.price(FREE) == "costs nothing"


async def test_where_essays_are_sent_is_said_and_the_command_line_goes_there_too() -> None:
    own = ModelInfo(
        provider="openai",
        model="any model",
        kind=JudgeKind.LLM,
        price=None,
        base_url="http://school.example:9900/v1",
    )
    known = ModelList(models=(own,))
    (choice,) = web_provider.choices_of(known, (), first="openai")
    assert "sent to school.example:9900;" in choice.description
    found = replace(OWN, judges=(choice,), known=known)
    assert (
        found.options_of(choice.name)
        == " --judge openai --model 'any model' --base-url http://school.example:9900/v1"
    )
    assert DEFAULTS.options_of(DEFAULTS.judges[0].name) == ""
