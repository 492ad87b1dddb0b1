"""Language models from the command line: ranked by one, refused in one line before anything is spent, and what was spent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_llm import FakeLLMProcess

ROOT = Path(__file__).parents[2]
ESSAYS = ROOT / "examples" / "essays"
KEY = "sk-canary-8802"
PRICED = "[openai.priced]\nprice = { prompt = 0.4, completion = 1.6, on = 2026-11-25 }\n"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeLLMProcess]:
    fake = FakeLLMProcess("--key", KEY)
    fake.start()
    yield fake
    fake.close()


def juxta(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("API_KEY")}
    return subprocess.run(
        [sys.executable, ROOT / "run.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean | {"NO_COLOR": "1", "COLUMNS": "250"} | environment,
    )


def rank(
    server: FakeLLMProcess, *more: str, key: str = KEY, model: str = "priced"
) -> subprocess.CompletedProcess[str]:
    judge = ("--judge", "openai", "--model", model, "--base-url", f"{server.url}/v1")
    return juxta("rank", ESSAYS, *judge, "--per-essay", "2", *more, JUXTA_JUDGES__OPENAI__KEY=key)


def test_rank_asks_the_model_that_is_named_at_the_address_that_is_named(server: FakeLLMProcess) -> None:
    done = rank(server, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["ranking"]) == 18
    assert "openai/priced" in server.stats()["models"]
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize(("key", "said"), [("", "No key was sent"), ("sk-wrong", "does not accept the key")])
def test_a_key_that_is_refused_is_one_line_and_where_it_goes_and_nothing_is_spent(
    server: FakeLLMProcess, key: str, said: str
) -> None:
    before = server.stats()["starts"]
    done = rank(server, key=key)
    assert done.returncode == 5
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("juxta:")]
    assert said in line
    assert "JUXTA_JUDGES__OPENAI__KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert server.stats()["starts"] == before


def test_a_server_that_is_away_is_one_line() -> None:
    away = ("--judge", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1")
    done = juxta("rank", ESSAYS, *away)
    assert (done.returncode, done.stdout) == (5, "")
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
    done = juxta(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith(("juxta", "judges"))]) == 1


def test_no_budget_is_promised_where_a_price_is_unknown(server: FakeLLMProcess, tmp_path: Path) -> None:
    before = server.stats()["starts"]
    done = rank(server, "--budget", "0.05", model="unheard-of")
    assert done.returncode == 1
    assert "nobody here knows what openai/unheard-of costs" in done.stderr
    assert server.stats()["starts"] == before
    (tmp_path / "models.toml").write_text(PRICED)
    assert (
        rank(server, "--budget", "5", "--set", f'judges.catalogue=["{tmp_path / "models.toml"}"]').returncode
        == 0
    )


def test_models_shows_each_price_with_its_day_and_says_what_is_not_known() -> None:
    rows = {row["model"]: row for row in json.loads(juxta("models", "--json").stdout)}
    assert rows["gpt-6-luna"]["read_on"]
    assert rows["gemini-3.5-flash-lite"]["prompt"] is None
    assert "unknown" in juxta("models").stdout


def test_providers_test_says_whether_the_key_is_taken(server: FakeLLMProcess) -> None:
    where = ("--set", f"judges.openai.base_url={server.url}/v1", "--set", "judges.openai.models=priced")
    good = juxta("providers", "test", "openai", *where, JUXTA_JUDGES__OPENAI__KEY=KEY)
    assert good.returncode == 0
    assert "takes the key" in good.stdout
    assert "It does not list priced." in good.stdout
    bad = juxta("providers", "test", "openai", "--json", *where, JUXTA_JUDGES__OPENAI__KEY="sk-wrong")
    assert (bad.returncode, json.loads(bad.stdout)["ok"]) == (5, False)
    assert juxta("providers", "test", "nobody").returncode == 3


def test_usage_of_a_folder_without_a_provider_is_not_found(tmp_path: Path) -> None:
    assert juxta("usage", "--data", tmp_path).returncode == 3


def test_doctor_says_whether_there_are_keys_and_never_which(tmp_path: Path) -> None:
    done = juxta("doctor", "--data", tmp_path / "data", OPENAI_API_KEY=KEY)
    assert "openai present, anthropic absent, google absent" in done.stdout
    assert KEY not in done.stdout + done.stderr
