"""What a proof stands on: essays whose true order is known, a fake server that knows it too, and a process of ours."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist

from app.provider.judges.digests import text_sha256
from app.settings import VENDORS
from tests.fake_llm import FakeLLMProcess
from tests.flow.process import Process, juxta, process_on

KEY = "sk-canary-4b1d-of-the-proof"
MODEL = "proof-1"
QUESTION = "Which of the two describes the harbour better?"
SPREAD = 1.8
"""Standard deviation of the true scores in logits: the judge then agrees with the truth on 81 % of random pairs."""
Prices = Mapping[str, str]
PRICES: Prices = {"prompt": "0.40", "completion": "1.60", "cached": "0.10", "cache_written": "0.50"}
"""US dollars for a million tokens."""
CACHED_FROM = 128
"""Tokens that a prompt must have in common with an earlier one to be read from the fake's cache."""
BASE = {"openai": "/v1", "anthropic": "", "google": ""}
"""What stands behind the server's address in a base URL."""


def essay(number: int) -> str:
    """A text of its own, with a sentence that can be looked for."""
    return (
        f"The harbour clock of canary essay {number:03} stopped at noon.\n\n"
        f"Nobody on quay {number} noticed, because the tide tells the time there. Boats leave when the water lets them, "
        "and the men who mend nets look at the sky. I think a harbour without a clock is a better place: people "
        "wait for each other instead of for a number."
    )


def truth(essays: int) -> list[float]:
    """Their true scores: quantiles of a normal distribution, so that chance has no part in them."""
    normal = NormalDist(0.0, SPREAD)
    return [normal.inv_cdf((place + 0.5) / essays) for place in range(essays)]


def write_truth(file: Path, essays: int) -> None:
    """As the judge `simulated` and the fake server read it."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        digests = [text_sha256(essay(number)) for number in range(essays)]
        csv.writer(stream).writerows([("sha256", "score"), *zip(digests, truth(essays), strict=True)])


def write_essays(folder: Path, essays: int) -> None:
    """As files for `rank`, with their question."""
    folder.mkdir(parents=True)
    (folder / "question.txt").write_text(QUESTION, encoding="utf-8")
    for number in range(essays):
        (folder / f"e{number:03}.txt").write_text(essay(number), encoding="utf-8")


def write_catalogue(file: Path, prices: Prices) -> None:
    """What the model costs, for each format."""
    said = ", ".join(f"{name} = {dollars}" for name, dollars in prices.items())
    lines = [f'[{name}."{MODEL}"]\nprice = {{ {said}, on = 2026-11-25 }}\n' for name in BASE]
    file.write_text("\n".join(lines), encoding="utf-8")


@contextmanager
def fake_on(folder: Path, essays: int, *options: str, prices: Prices = PRICES) -> Iterator[FakeLLMProcess]:
    """The fake server as a process; it knows the true scores, the key and the prices."""
    folder.mkdir(parents=True, exist_ok=True)
    write_truth(folder / "truth.csv", essays)
    server = FakeLLMProcess(
        "--key", KEY, "--truth", str(folder / "truth.csv"), "--prices", *prices.values(),
        "--cache-minimum", str(CACHED_FROM), *options,
    )  # fmt: skip
    try:
        server.start()
        yield server
    finally:
        server.close()


def judge_options(
    folder: Path,
    server: FakeLLMProcess,
    *,
    name: str = "openai",
    key: str | None = KEY,
    model: str = MODEL,
    prices: Prices = PRICES,
) -> list[str]:
    """Options of `run.py` for a judge at the fake server; without `key` it comes from elsewhere."""
    write_catalogue(folder / "models.toml", prices)
    return [
        *("--judge", name, "--model", model, "--base-url", server.url + BASE[name]),
        *assigned(
            *([] if key is None else [f"judges.{name}.key={key}"]),
            f'judges.catalogue=["config/models.toml", "{folder / "models.toml"}"]',
        ),
    ]


def assigned(*settings: str) -> list[str]:
    """As options."""
    return [part for setting in settings for part in ("--set", setting)]


@contextmanager
def house_on(folder: Path, *options: str) -> Iterator[Process]:
    """`run.py` in a folder of its own, without the examples."""
    with process_on(folder / "house", "--no-demo", *options) as process:
        yield process


def rank(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`run.py rank` on the essays of the folder, in an environment without a key."""
    clean = {vendor.key_variable: "" for vendor in VENDORS.values()}
    return juxta("rank", folder / "essays", "--json", *options, status=None, **clean)


def create(
    process: Process, essays: int, *, name: str = "openai", model: str = MODEL, **settings: object
) -> str:
    """A batch of the essays; its id."""
    content = {
        "title": "Proof",
        "question": QUESTION,
        "essays": [{"name": f"e{number:03}", "text": essay(number)} for number in range(essays)],
        "settings": {"judges": [{"provider": name, "model": model}], "target_reliability": 0.999, "seed": 7}
        | settings,
    }
    answer = process.client.post("/api/v1/batches", json=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
