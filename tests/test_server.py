"""The server around the house: it ends when the house does, and says why."""

from __future__ import annotations

import socket
from pathlib import Path

import anyio
import pytest

from app.cj.workflow import Workflow
from app.container import bootstrap
from app.errors import ConfigurationError
from app.lock import locked
from app.server import _bind, serve
from app.settings import Settings, load


def settings_in(folder: Path) -> Settings:
    return load(None, [f"data={folder}", "http.port=0"], {})[0]


def test_a_dead_loop_ends_the_process_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(_self: Workflow) -> None:
        await anyio.sleep(0.05)
        raise RuntimeError("a bug")

    monkeypatch.setattr(Workflow, "run", dies)
    told: list[str] = []
    with pytest.raises(RuntimeError, match="a bug"):
        serve(bootstrap(settings_in(tmp_path)), ready=told.append, demo=False)
    assert told


def test_a_second_process_on_the_same_folder_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with locked(tmp_path, "cj"), pytest.raises(ConfigurationError, match=r"in use by process \d+"):
        serve(bootstrap(settings_in(tmp_path)), ready=lambda url: None, demo=False)


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _bind("127.0.0.1", port) as bound:
            assert port < bound.getsockname()[1] <= port + 50
