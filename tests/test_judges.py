"""From settings to judges: who is offered, by which limits, and every fault at once before anything is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.judges import judges, model_infos
from app.language_models import language_models
from app.new_batches import batch_settings
from app.provider.judges.llm.http import ModelClient
from app.roles.provider import _limits
from app.settings import Settings, load

OWN = "judges.openai.base_url=http://127.0.0.1:11434/v1"


def settings_of(*assignments: str) -> Settings:
    return load(None, assignments, {})[0]


def test_without_a_model_no_language_model_is_offered_and_no_key_is_asked_for() -> None:
    assert set(judges(settings_of(), ModelClient)) == {"rules"}
    assert {info.provider for info in model_infos(settings_of())} == {"rules"}


def test_every_missing_key_and_unknown_model_is_named_at_once() -> None:
    settings = settings_of("judges.openai.models=nonsense", "judges.google.models=gemini-3.8-flash")
    with pytest.raises(ConfigurationError) as caught:
        judges(settings, ModelClient)
    lines = caught.value.detail.splitlines()
    assert len(lines) == 3
    assert any("OPENAI_API_KEY" in line for line in lines)
    assert any("GEMINI_API_KEY" in line for line in lines)
    assert any("'nonsense' is not known; known are gpt-6-luna" in line for line in lines)


def test_at_a_server_of_one_s_own_every_name_is_taken_and_no_key_is_needed() -> None:
    settings = settings_of(OWN, "judges.openai.models=llama4:8b,gpt-6-luna")
    llama, luna = language_models(settings)["openai"]
    assert (llama.name, llama.price, llama.names) == ("llama4:8b", None, ())
    assert luna.price is not None
    assert judges(settings, ModelClient)["openai"].lane(
        batch_settings(settings, provider="openai").judges[0]
    ) == ("openai/llama4:8b")


def test_what_the_file_says_costs_nothing_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[openai."*"]\nprice = "none"\n')
    settings = settings_of(OWN, "judges.openai.models=llama", f'judges.catalogue=["{tmp_path / "own.toml"}"]')
    (info,) = [info for info in model_infos(settings) if info.provider == "openai"]
    assert info.price is not None
    assert (info.price.prompt, info.price.completion) == (0, 0)


def test_a_server_that_knows_no_schemas_can_be_said_to_be_one() -> None:
    settings = settings_of(OWN, "judges.openai.models=llama", "judges.openai.structured=json_object")
    assert language_models(settings)["openai"][0].structured == "json_object"
    with pytest.raises(ConfigurationError, match="'tool' output is not known"):
        judges(settings_of(OWN, "judges.openai.models=x", "judges.openai.structured=tool"), ModelClient)


def test_limits_are_divided_by_the_processes_and_a_call_ends_before_its_lane_ends_it() -> None:
    settings = settings_of(
        "judges.openai.requests_per_minute=300",
        "judges.openai.tokens_per_minute=90_000",
        "judges.openai.timeout=20",
        "provider.processes=3",
    )
    limits = _limits(settings, "openai/vendor/model")
    assert (limits.requests_per_minute, limits.tokens_per_minute) == (100, 30_000)
    assert limits.call_timeout > 20
    assert limits.period > 60
    assert _limits(settings, "rules/panel-v1").tokens_per_minute is None


def test_a_new_batch_asks_the_first_model_of_the_default_judge() -> None:
    settings = settings_of(OWN, "judges.openai.models=a,b", "judges.default=openai")
    assert [(asked.provider, asked.model) for asked in batch_settings(settings).judges] == [("openai", "a")]
