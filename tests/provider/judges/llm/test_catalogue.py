"""The catalogue of models: the one that is shipped is sound, all faults are named at once, nothing about money is guessed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.provider.judges.llm.catalogue import Catalogue, load_catalogue
from app.provider.judges.llm.model import FREE, Usage
from app.provider.judges.llm.naming import is_same_model
from app.settings import ROOT

SHIPPED = ROOT / "config" / "models.toml"
TODAY = date(2026, 11, 25)


def catalogue(folder: Path, *texts: str, today: date = TODAY) -> Catalogue:
    files = [folder / f"{number}.toml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return load_catalogue(files, today=today)


def test_every_model_that_is_shipped_can_be_asked_and_every_price_has_its_day() -> None:
    shipped = load_catalogue([SHIPPED], today=TODAY)
    for provider in ("openai", "anthropic", "google"):
        assert shipped.names(provider)
        for name in shipped.names(provider):
            model = shipped.find(provider, name, anywhere=False)
            assert model is not None
            assert model.answer_tokens <= model.most_answer_tokens < model.context_tokens
            assert model.price is None or model.price.on is not None


def test_all_faults_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        catalogue(
            tmp_path,
            '[openai.x]\ncontext_tokens = -1\nprize = "none"\nprice = { prompt = 1.0, completion = 2.0 }\n',
            '[cohere.y]\n[google.z]\nefforts = ["huge"]\n',
            "no toml",
        )
    lines = caught.value.detail.splitlines()
    for place in (
        "openai.x.context_tokens",
        "openai.x.prize: unknown",
        "openai.x.price.on",
        "cohere",
        "google.z.efforts.0",
    ):
        assert any(place in line for line in lines), place
    assert any(line.startswith(str(tmp_path / "2.toml")) for line in lines)


def test_a_model_whose_answer_would_leave_no_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        catalogue(
            tmp_path,
            "[openai.small]\ncontext_tokens = 4_096\n[openai.exact]\ncontext_tokens = 8_192\n"
            "[google.long]\nanswer_tokens = 20_000\n[openai.fits]\ncontext_tokens = 8_193\n",
        )
    small, exact, long = caught.value.detail.splitlines()
    assert "openai.small: answer_tokens (8192) must be less than context_tokens (4096)" in small
    assert "openai.exact: answer_tokens (8192) must be less than context_tokens (8192)" in exact
    assert "google.long: answer_tokens (20000) must not be more than most_answer_tokens (16384)" in long


def test_the_later_file_wins(tmp_path: Path) -> None:
    found = catalogue(
        tmp_path, "[openai.x]\nanswer_tokens = 1\n[openai.y]\n", "[openai.x]\nanswer_tokens = 2\n"
    )
    assert found.names("openai") == ("x", "y")
    x = found.find("openai", "x", anywhere=False)
    assert x is not None
    assert x.answer_tokens == 2


def test_no_price_is_not_a_price_of_nothing(tmp_path: Path) -> None:
    found = catalogue(tmp_path, '[openai.unknown]\n[openai.own]\nprice = "none"\n')
    unknown, own = (found.find("openai", name, anywhere=False) for name in ("unknown", "own"))
    assert unknown is not None
    assert own is not None
    assert unknown.price is None
    assert own.price is FREE
    assert own.price.of(Usage(prompt=10**6, completion=10**6)) == 0


def test_a_price_whose_last_day_is_past_is_not_known_any_more(tmp_path: Path) -> None:
    text = "[google.x]\nprice = { prompt = 0.75, completion = 3.75, on = 2026-10-07, until = 2026-12-31 }\n"
    for today, known in ((date(2026, 12, 31), True), (date(2027, 1, 1), False)):
        model = catalogue(tmp_path, text, today=today).find("google", "x", anywhere=False)
        assert model is not None
        assert (model.price is not None) is known


def test_a_name_that_is_not_listed_is_known_where_servers_may_have_any(tmp_path: Path) -> None:
    found = catalogue(tmp_path, '[openai."*"]\ncontext_tokens = 9_000\n')
    assert found.names("openai") == ()
    assert found.find("openai", "llama", anywhere=False) is None
    llama = found.find("openai", "llama", anywhere=True)
    assert llama is not None
    assert (llama.name, llama.context_tokens, llama.price) == ("llama", 9_000, None)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_another_model_than_was_asked_is_noticed_whatever_was_asked_unless_people_allow_any_name(
    tmp_path: Path, provider: str
) -> None:
    shipped, own = (
        load_catalogue([SHIPPED], today=TODAY),
        catalogue(tmp_path, f'[{provider}.own]\nnames = ["*"]\n'),
    )
    for name in ("own", *shipped.names(provider)):
        model = shipped.find(provider, name, anywhere=True)
        assert model is not None
        assert is_same_model(model, name)
        assert not is_same_model(model, "/models/other.gguf")
    allowed = own.find(provider, "own", anywhere=True)
    assert allowed is not None
    assert is_same_model(allowed, "/models/other.gguf")
