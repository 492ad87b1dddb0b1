"""uvicorn around the application: the port, the signals, the way out."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import anyio
import punq
import uvicorn
from starlette.datastructures import State

from app import collector
from app.application import application, house_routes
from app.edge import DeadlineProtocol, until_the_end
from app.errors import ConfigurationError
from app.lock import announce
from app.settings import Settings

NEXT_PORTS = 50
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than clients keep theirs (5 to 60), so that none sends into its end."""


class Server(uvicorn.Server):
    """uvicorn, with a word when it is ready and the error that ended the house, if one did.

    It ends `grace` seconds after it was told to stop, whoever does not answer then.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        grace: float,
        ready: Callable[[], None],
        closing: anyio.Event,
        house: State,
    ) -> None:
        super().__init__(config)
        self.failure: BaseException | None = None
        self._grace = grace
        self._ready = ready
        self._closing = closing
        self._house = house

    def give_up(self, failure: BaseException) -> None:
        """Stop, because the house behind the application has ended."""
        self.failure = failure
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; uvicorn would wait for a house that is still being opened, however long that takes."""
        if not any(signal.getitimer(signal.ITIMER_REAL)):
            signal.setitimer(signal.ITIMER_REAL, self._grace)
        super().handle_exit(sig, frame)
        if not self.started:
            self._house.abandon()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say so."""
        await super().startup(sockets=sockets)
        if self.started and not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the live streams first: uvicorn waits for every answer that is under way."""
        self._closing.set()
        await super().shutdown(sockets=sockets)


def serve(container: punq.Container, *, ready: Callable[[str], None], demo: bool) -> None:
    """Serve until SIGTERM or Ctrl-C; calls `ready` with the URL once requests are answered.

    :raises ConfigurationError: the data folder or the port cannot be used.
    """
    settings: Settings = container.resolve(Settings)
    bound = _bind(settings.http.host, settings.http.port)
    host, port = bound.getsockname()[:2]
    url = f"http://{host}:{port}"
    closing = anyio.Event()
    app = application(container, house_routes(container, closing), demo=demo)
    DeadlineProtocol.header_deadline = settings.http.header_timeout
    config = uvicorn.Config(
        until_the_end(app),
        http=DeadlineProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, int(settings.answers_within)),
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)

    def tell() -> None:
        collector.spare()
        for lock in app.state.locks:
            announce(lock, url=url)
        ready(url)

    signal.signal(signal.SIGTERM, _told_to_stop)
    signal.signal(signal.SIGALRM, _cut_off)
    server = Server(config, grace=settings.http.grace, ready=tell, closing=closing, house=app.state)
    app.state.ended = server.give_up
    # What is suppressed are uvicorn's ways to say that it was told to stop, or failed.
    with bound, suppress(KeyboardInterrupt, SystemExit):
        server.run(sockets=[bound])
    if server.failure is not None:
        raise _expected(server.failure)


def _told_to_stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Leave as after Ctrl-C. uvicorn raises SIGTERM again once it has stopped; that would kill us before our clean-up."""
    raise SystemExit(0)


def _cut_off(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End now, as a kill would, which loses nothing: each part leaves in time, and all of them together may not.

    Measured with a PostgreSQL that hangs: the thread that waits for it is given up after `database.deadline`, and the
    interpreter waits for the thread.
    """
    os.write(2, b"Stopped at the end of http.grace. What was under way goes on after the next start.\n")
    os._exit(0)


def _expected(failure: BaseException) -> BaseException:
    """What ended the house, out of the groups that task groups wrap around it."""
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure


def _bind(host: str, port: int) -> socket.socket:
    """Take the port, or the next free one."""
    last: OSError | None = None
    for candidate in range(port, min(port + NEXT_PORTS, 65_536)) if port else (0,):
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, candidate))
        except OSError as error:
            bound.close()
            last = error
        else:
            return bound
    raise ConfigurationError(f"http.port: no free port from {port} on {host} ({last}).")
