"""Language models from the command line: ranked by one, refused in one line before anything is spent, and what was spent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contracts import ModelInfo
from app.settings import VENDORS
from tests.fake_llm import FakeLLMProcess
from tests.flow.process import ROOT, juxta
from tests.prove_llm.stage import KEY, MODEL, PRICES, fake_on, write_catalogue

ESSAYS = ROOT / "examples" / "essays"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeLLMProcess]:
    with fake_on(tmp_path_factory.mktemp("server"), 0) as fake:
        yield fake


@pytest.fixture(autouse=True)
def _no_keys_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for vendor in VENDORS.values():
        monkeypatch.delenv(vendor.key_variable, raising=False)


def rank(
    server: FakeLLMProcess, *more: str, model: str, key: str = KEY, status: int = 0
) -> subprocess.CompletedProcess[str]:
    judge = ("--judge", "openai", "--model", model, "--base-url", f"{server.url}/v1", "--per-essay", "2")
    return juxta("rank", ESSAYS, *judge, *more, status=status, JUXTA_JUDGES__OPENAI__KEY=key)


@pytest.mark.parametrize(("key", "said"), [("", "No key was sent"), ("sk-wrong", "does not accept the key")])
def test_a_key_that_is_refused_is_one_line_and_where_it_goes_and_nothing_is_spent(
    server: FakeLLMProcess, key: str, said: str
) -> None:
    before = server.stats()["starts"]
    done = rank(server, model="mine", key=key, status=5)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("juxta:")]
    assert said in line
    assert "JUXTA_JUDGES__OPENAI__KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert server.stats()["starts"] == before


def test_a_server_that_is_away_is_one_line() -> None:
    away = ("--judge", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1")
    done = juxta("rank", ESSAYS, *away, status=5)
    assert done.stdout == ""
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("rank", ESSAYS, "--judge", "openai", "--model", "gpt-6-luna"),
            "set OPENAI_API_KEY in the environment",
        ),
        (
            ("--no-demo", "--judge", "google", "--model", "gemini-3.8-flash"),
            "set GEMINI_API_KEY in the environment",
        ),
        (("--judge", "anthropic"), "'anthropic' needs a model; name one with --model"),
        (("--judge", "rules", "--model", "x"), "--model and --base-url go with --judge openai"),
        (("rank", ESSAYS, "--model", "x"), "given is --judge (none)"),
        (("--judge", "openai", "--model", "x", "--base-url", "localhost"), "judges.openai.base_url"),
        (("providers", "test", "anthropic"), "set ANTHROPIC_API_KEY in the environment"),
    ],
)
def test_what_is_missing_is_said_at_once(arguments: tuple[str | Path, ...], says: str) -> None:
    done = juxta(*arguments, status=2)
    assert done.stdout == ""
    assert says in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith(("juxta", "judges"))]) == 1


def test_no_budget_is_promised_where_a_price_is_unknown(server: FakeLLMProcess, tmp_path: Path) -> None:
    before = server.stats()["starts"]
    done = rank(server, "--budget", "0.05", model="unheard-of", status=1)
    assert "nobody here knows what openai/unheard-of costs" in done.stderr
    assert server.stats()["starts"] == before
    write_catalogue(tmp_path / "models.toml", PRICES)
    known = ("--set", f'judges.catalogue=["{tmp_path / "models.toml"}"]')
    assert json.loads(rank(server, "--budget", "5", "--json", *known, model=MODEL).stdout)["cost_usd"] > 0


def test_models_shows_each_price_with_its_day_and_says_what_is_not_known() -> None:
    rows = {row["model"]: row for row in json.loads(juxta("models", "--json").stdout)}
    assert rows["gpt-6-luna"]["price"]["on"]
    assert rows["gemini-3.5-flash-lite"]["price"] is None
    assert {"offered", *ModelInfo.model_fields} == rows["gpt-6-luna"].keys()
    assert "unknown" in juxta("models").stdout


def test_providers_test_says_whether_the_key_is_taken(server: FakeLLMProcess) -> None:
    where = ("--base-url", f"{server.url}/v1", "--model", "mine")
    good = juxta("providers", "test", "openai", *where, JUXTA_JUDGES__OPENAI__KEY=KEY)
    assert "takes the key" in good.stdout
    assert "It does not list mine." in good.stdout
    bad = juxta("providers", "test", "openai", "--json", *where, status=5, JUXTA_JUDGES__OPENAI__KEY="no")
    assert not json.loads(bad.stdout)["ok"]
    juxta("providers", "test", "nobody", status=3)
    assert "needs nobody" in juxta("providers", "test", "rules").stdout


def test_usage_of_a_folder_without_a_provider_is_not_found(tmp_path: Path) -> None:
    juxta("usage", "--data", tmp_path, status=3)


def test_doctor_says_whether_there_are_keys_and_never_which(tmp_path: Path) -> None:
    done = juxta("doctor", "--data", tmp_path / "data", OPENAI_API_KEY=KEY)
    assert "openai present, anthropic absent, google absent" in done.stdout
    assert KEY not in done.stdout + done.stderr
