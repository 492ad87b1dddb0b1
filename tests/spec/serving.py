"""The real application of role `all`, over real HTTP, in a folder of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import uvicorn

from app.application import application, house_routes
from app.container import bootstrap
from app.edge import DeadlineProtocol
from tests.flow.house import furnish, settings_in
from tests.flow.process import until
from tests.web.conftest import Served

BRISK = "judges.rules.pace=0"


@contextmanager
def house_served(folder: Path, *assignments: str) -> Iterator[str]:
    """Serve on a free port; gives the address."""
    furnish(folder)
    container = bootstrap(settings_in(folder, BRISK, *assignments))
    closing = anyio.Event()
    app = application(container, house_routes(container, closing))
    ended: list[BaseException] = []
    app.state.ended = ended.append
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=DeadlineProtocol, lifespan="on", log_config=None, access_log=False)
    server = Served(config, closing)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive(), "the server did not start"
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        bound.close()
    assert not thread.is_alive(), "the server did not stop"
    assert ended == []
