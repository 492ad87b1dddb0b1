"""The commands as people type them: data on stdout, talk on stderr, one line for each fault."""

from __future__ import annotations

import csv
import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from app.database import SqliteDatabase
from app.provider.queue import tables as ledger
from app.provider.queue.sql import SqlQueue
from tests.contracts.queue_world import JUDGED, request

ROOT = Path(__file__).parents[2]
ESSAYS = ROOT / "examples" / "essays"


def juxta(*arguments: str | Path, cwd: Path = ROOT, columns: int = 200) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUXTA_")} | {
        "NO_COLOR": "1",
        "COLUMNS": str(columns),
    }
    return subprocess.run(
        [sys.executable, ROOT / "run.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=environment,
        check=False,
    )


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("rank") / "out"
    return out, juxta("rank", ESSAYS, "--out", out)


def test_rank_prints_the_ranking_and_writes_the_four_files(
    ranked: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = ranked
    assert done.returncode == 0, done.stderr
    assert "essay-14 (anchor 6)" in done.stdout
    assert sorted(f.name for f in out.iterdir()) == [
        "judgements.csv",
        "ranking.csv",
        "ranking.json",
        "report.html",
    ]
    with (out / "ranking.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == [str(n) for n in range(1, 19)]
    assert all(float(row["low"]) < float(row["score"]) < float(row["high"]) for row in rows)
    with (out / "judgements.csv").open(newline="") as stream:
        verdicts = list(csv.DictReader(stream))
    counted = json.loads((out / "ranking.json").read_text())
    scored = [row for row in verdicts if not row["audit_of"]]
    assert len(scored) < len(verdicts)
    assert sum(int(row["comparisons"]) for row in rows) == 2 * len(scored)
    assert {row["judge_kind"] for row in verdicts} == {"rules"}
    assert "rules" in json.dumps(counted)


def test_rank_says_how_it_agrees_with_the_intended_levels(
    ranked: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = ranked
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tau-b")]
    assert "with the judge's length term" in line
    assert "without it" in line
    assert "Judged by rules, not by people or an AI." in done.stderr


def test_rank_as_json_puts_only_json_on_stdout() -> None:
    done = juxta("rank", ESSAYS, "--json", "--per-essay", "2", "--question", "Why?")
    assert json.loads(done.stdout)


def test_rank_names_each_faulty_file_before_anything_is_judged(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("word " * 60)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    done = juxta("rank", tmp_path)
    assert done.returncode == 1
    assert "empty.txt is empty" in done.stderr
    assert "photo.jpg is of kind .jpg" in done.stderr
    assert "nothing was judged" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("rank", "nowhere"), 3, "no file or folder nowhere"),
        (("--check", "--set", "bus.kind=pigeon"), 2, "bus.kind: 'pigeon'"),
        (("--check", "--role", "cj"), 2, "needs a bus between processes"),
        (("trace", "not-a-uuid"), 2, "no correlation_id"),
        (("trace", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "--data", "/nonexistent"), 3, "provider.db"),
        (("queue", "ls", "--data", "/nonexistent"), 3, "provider.db"),
        (("--no-such-flag",), 2, "No such option"),
        (("--data", "elsewhere", "key", "ls"), 2, "Options before a command are for serving alone (data)"),
    ],
)
def test_a_fault_is_told_without_a_traceback(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = juxta(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_config_show_names_the_source_of_each_value() -> None:
    done = juxta("config", "show", "--json", "--set", "http.port=9")
    shown = json.loads(done.stdout)
    assert shown["http.port"] == {"value": 9, "source": "command line"}
    assert shown["bus.kind"] == {"value": "memory", "source": "default"}


def test_queue_ls_fits_a_terminal_and_says_how_many_there_are(tmp_path: Path) -> None:
    asked = [uuid4() for _ in range(60)]

    async def fill() -> None:
        database = SqliteDatabase(tmp_path / "provider.db", migrations=ledger.MIGRATIONS)
        async with SqlQueue(database, boot="boot") as queue:
            for one in asked:
                await queue.accept(replace(request(0), queue_id=one, correlation_id=one))

    anyio.run(fill)
    before = (tmp_path / "provider.db").read_bytes()
    done = juxta("queue", "ls", "--limit", "7", "--data", tmp_path, columns=80)
    assert done.returncode == 0, done.stderr
    title, *lines = done.stdout.splitlines()
    assert title.startswith("7 of 60 requests")
    assert all(len(line) <= 80 for line in lines)
    for one in asked[:7]:
        assert sum(str(one) in line and JUDGED in line for line in lines) == 1
    assert len(json.loads(juxta("queue", "ls", "--json", "--data", tmp_path).stdout)) == 50
    assert (tmp_path / "provider.db").read_bytes() == before


def test_doctor_says_what_is_well(tmp_path: Path) -> None:
    done = juxta("doctor", "--data", tmp_path / "data")
    assert done.returncode == 0
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())


def test_doctor_looks_with_the_eyes_of_a_role(tmp_path: Path) -> None:
    kafka = ("--set", "bus.kind=kafka", "--set", "kafka.servers=127.0.0.1:1")
    done = juxta("doctor", "--data", tmp_path / "data", "--role", "provider", *kafka)
    assert "ok     settings: role provider" in done.stdout
    refused = juxta("doctor", "--data", tmp_path / "data", "--role", "cj", *kafka)
    assert (refused.returncode, "cj.provider_urls" in refused.stdout) == (1, True)


def test_a_first_start_logs_what_is_ours_alone(tmp_path: Path) -> None:
    done = juxta("key", "ls", "--data", tmp_path, "--set", "log.level=info", "--set", "log.format=json")
    assert done.returncode == 0
    assert "alembic" not in done.stderr


def test_without_its_dependencies_it_says_what_to_type() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-s", ROOT / "run.py"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_a_python_that_is_too_old_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(tuple[int, ...]):
        __slots__ = ()

    monkeypatch.setattr(sys, "version_info", Old((3, 10)))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer; this is 3\.10"):
        runpy.run_path(str(ROOT / "run.py"), run_name="not main")


@pytest.mark.parametrize(
    ("arguments", "key", "version"),
    [
        (("openapi", "--role", "provider"), "openapi", "3.1.0"),
        (("asyncapi", "--set", "bus.kind=kafka", "--json"), "asyncapi", "3.0.0"),
    ],
)
def test_spec_prints_a_document_and_nothing_else(arguments: tuple[str, ...], key: str, version: str) -> None:
    done = juxta("spec", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[key] == version
    assert (done.stdout.count("\n") == 1) == ("--json" in arguments)


def test_spec_of_a_role_leaves_out_what_it_does_not_serve() -> None:
    paths = json.loads(juxta("spec", "openapi", "--role", "provider", "--json").stdout)["paths"]
    assert "/api/v1/comparison" in paths
    assert "/api/v1/batches" not in paths


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    code = (
        "import structlog; from app.cli.options import configure_logging; from app.settings import load;"
        "configure_logging(load(environment={})[0]);"
        "structlog.get_logger().error('the disk is full'); structlog.get_logger().warning('still'); print('went on')"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=full,
            cwd=ROOT,
            timeout=60,
            check=False,
        )
    assert done.stdout == b"went on\n"
