"""A running server, as the commands talk to it: breakers and an in-memory bus live in it and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Annotated, Any, Self, TypeVar

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.errors import ConfigurationError, NotFound, ProviderUnavailable

T = TypeVar("T")

URL = "http://127.0.0.1:8000"
PATIENCE = 60.0
"""Seconds for one answer; a redrive of hundreds of letters over a slow broker takes a while."""

Url = Annotated[str, typer.Option("--url", help="Address of the running server.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="JUXTA_KEY",
        help="A key with the scope `operate`, where keys are asked for.",
        show_default=False,
        show_envvar=True,
    ),
]


class Server:
    """Open it, ask it. Whatever it refuses is raised as the error that it was there."""

    def __init__(self, url: str, key: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"--url {url}: write it as http://host:port")
        self.url = url.rstrip("/")
        self._key = key

    async def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """Ask for something.

        :raises ProviderUnavailable: nobody answers there.
        :raises JuxtaError: the server refused, and said why.
        """
        given = {name: str(value) for name, value in query.items() if value is not None}
        return await self._ask("GET", path, params=given)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Have something done; raises as `get`."""
        return await self._ask("POST", path, json=body)

    async def download(self, path: str, **query: str) -> bytes:
        """A file; raises as `get`."""
        status, content = await self._exchange("GET", path, params=query)
        if status != 200:  # noqa: PLR2004 - success
            _content(self.url, status, content)
        return content

    async def __aenter__(self) -> Self:
        import aiohttp  # noqa: PLC0415 - slow to import, and `--help` needs none

        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=PATIENCE, connect=5.0)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def _ask(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        return _content(self.url, *await self._exchange(method, path, **given))

    async def _exchange(self, method: str, path: str, **given: Any) -> tuple[int, bytes]:
        import aiohttp  # noqa: PLC0415 - as above

        try:
            async with self._session.request(
                method, self.url + path, allow_redirects=False, **given
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ProviderUnavailable(
                f"No server answers at {self.url} ({type(error).__name__}).",
                hint="Start it, or name its address with --url.",
            ) from error


def _content(url: str, status: int, content: bytes) -> dict[str, Any]:
    import json  # noqa: PLC0415 - with the others

    from pydantic import ValidationError  # noqa: PLC0415 - as above

    from app.cj.http_provider_client import error_of  # noqa: PLC0415 - as above
    from app.contracts import Problem  # noqa: PLC0415 - as above

    try:
        found = json.loads(content)
        if status < 300 or "problem" not in str(found.get("type", "")):  # noqa: PLR2004 - success; or readiness
            return dict(found)
        problem = Problem.model_validate(found)
        if status == NotFound.status:  # also of a route that this role does not serve
            raise NotFound(problem.detail, hint=problem.hint)
        raise error_of(problem)
    except (ValueError, AttributeError, ValidationError) as error:
        raise ProviderUnavailable(
            f"What answers at {url} is no Juxta ({status}).", hint="Name its address with --url."
        ) from error


def asking_all(urls: Sequence[str], key: str | None, work: Callable[[Sequence[Server]], Awaitable[T]]) -> T:
    """As `asking`, with several servers."""

    async def ask() -> T:
        async with AsyncExitStack() as opened:
            return await work([await opened.enter_async_context(Server(url, key)) for url in urls])

    return anyio.run(ask)


def asking(url: str, key: str | None, work: Callable[[Server], Awaitable[T]]) -> T:
    """Do `work` with the server at `url`."""

    async def ask() -> T:
        async with Server(url, key) as server:
            return await work(server)

    return anyio.run(ask)


def print_table(
    title: str,
    rows: list[dict[str, Any]],
    columns: tuple[str, ...],
    *,
    whole: tuple[str, ...] = (),
    cut: tuple[str, ...] = (),
) -> None:
    """Rows for people; columns `whole` are never broken, and those `cut` take what room is left on one line."""
    table = Table(title=Text(title, no_wrap=True), title_justify="left")
    for column in columns:
        table.add_column(column, no_wrap=column in whole, overflow="fold")
    for row in rows:
        table.add_row(*(_text(cell(row.get(column)), cut=column in cut) for column in columns))
    Console().print(table)


def _text(words: str, *, cut: bool) -> Text:
    return Text(" ".join(words.split()), no_wrap=True, overflow="ellipsis") if cut else Text(words)


def cell(value: object) -> str:
    """A value as people read it: nothing for null, no digits nobody needs."""
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)
