"""Servers and networks that fail: what no HTTP library would do on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import zlib

from tests.fake_llm.broken_words import with_field
from tests.fake_llm.dialect import Fault
from tests.fake_llm.exchange import Exchange
from tests.fake_llm.http import Answer

MEGABYTE = 1024 * 1024
HUGE = 50 * MEGABYTE
BOMB = 100 * MEGABYTE
GZIP = 16 + zlib.MAX_WBITS
MARK = "@@here@@"
ELSEWHERE = "/_fake/elsewhere"
HTML = (
    b"<!doctype html><html><head><title>%s</title></head><body><center><h1>%s</h1></center><hr></body></html>"
)


async def resets_at_once(exchange: Exchange) -> None:
    """RST before the first byte."""
    exchange.answer()
    exchange.connection.reset()


async def resets_mid_body(exchange: Exchange) -> None:
    """RST after half of the body."""
    answer = exchange.answer()
    await exchange.begin(answer)
    await exchange.connection.write(answer.body[: len(answer.body) // 2])
    exchange.connection.reset()


async def never_answers(exchange: Exchange) -> None:
    """Not a byte, until the client leaves."""
    exchange.answer()
    await exchange.connection.gone()


async def hangs_after_headers(exchange: Exchange) -> None:
    """The head, then nothing, until the client leaves."""
    await exchange.begin(exchange.answer())
    await exchange.connection.gone()


async def drips(exchange: Exchange) -> None:
    """A byte of the body in each `pace` seconds."""
    answer = exchange.answer()
    await exchange.begin(answer)
    for byte in answer.body:
        await exchange.connection.write(bytes([byte]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(exchange.pace):
                await exchange.connection.gone()
    exchange.whole = True


async def cuts_the_body(exchange: Exchange) -> None:
    """Half of the body under a length that is true of the half: HTTP sees nothing wrong."""
    answer = exchange.answer()
    half = answer.body[: len(answer.body) // 2]
    await exchange.begin(answer, length=len(half))
    await exchange.connection.write(half)


async def ends_early(exchange: Exchange) -> None:
    """An orderly end of the connection before the promised length."""
    answer = exchange.answer()
    await exchange.begin(answer)
    await exchange.connection.write(answer.body[: len(answer.body) // 2])
    exchange.connection.close()


async def floods(exchange: Exchange) -> None:
    """A justification of 50 MB, in chunks, as fast as the client takes it."""
    answer = exchange.answer(with_field(exchange.good, "justification", MARK)).having(
        transfer_encoding="chunked"
    )
    head, tail = answer.body.split(MARK.encode())
    await exchange.begin(answer)
    await exchange.connection.write(_chunk(head))
    for _ in range(HUGE // MEGABYTE):
        await exchange.connection.write(_chunk(b"x" * MEGABYTE))
    await exchange.connection.write(_chunk(tail) + _chunk(b""))


async def bombs(exchange: Exchange) -> None:
    """About 100 kB of gzip that become 100 MB of spaces before the good answer."""
    answer = exchange.answer().having(content_encoding="gzip")
    packed = await asyncio.to_thread(_bomb, answer.body)
    await exchange.send(Answer(answer.status, packed, answer.headers))


async def breaks_utf8(exchange: Exchange) -> None:
    """Bytes within the words that are no UTF-8."""
    answer = exchange.answer(with_field(exchange.good, "justification", f"It {MARK} argues better."))
    await exchange.send(
        Answer(answer.status, answer.body.replace(MARK.encode(), b"\xff\xfe\xc3"), answer.headers)
    )


async def bad_gateway(exchange: Exchange) -> None:
    """The page of a proxy."""
    words = b"502 Bad Gateway"
    await exchange.send(Answer(502, HTML % (words, words), {"content-type": "text/html"}))


async def redirects(exchange: Exchange) -> None:
    """Off to another path; whoever follows is counted there."""
    await exchange.send(Answer(307, b"", {"location": ELSEWHERE}))


async def calls_it_html(exchange: Exchange) -> None:
    """A good body under the wrong type."""
    await exchange.send(exchange.answer().having(content_type="text/html; charset=utf-8"))


async def fails_with_200(exchange: Exchange) -> None:
    """The vendor's error under the status of success."""
    denial = exchange.denial(Fault.SERVER)
    await exchange.send(Answer(200, denial.body, denial.headers))


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _bomb(tail: bytes) -> bytes:
    """Spaces are white space to JSON: unpacked whole, it is the good answer."""
    packer = zlib.compressobj(level=1, wbits=GZIP)
    spaces = b" " * MEGABYTE
    packed = [packer.compress(spaces) for _ in range(BOMB // MEGABYTE)]
    return b"".join(packed) + packer.compress(tail) + packer.flush()
