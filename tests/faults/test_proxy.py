"""The proxy does what it says, between sockets of ours."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.proxy import FEW, Fault, Network, Proxy, Way

BOTH = frozenset(Way)
MESSAGE = b"x" * 400


@pytest.fixture
def echo() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(4096):
                connection.sendall(data)
        except OSError:
            return


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Network() as network:
        yield network.proxy(echo)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 5.0) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
        yield connection


def read(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := client.recv(size - len(found))):
        found += more
    return found


def test_in_fair_weather_every_byte_arrives(client: socket.socket) -> None:
    client.sendall(MESSAGE)
    assert read(client, len(MESSAGE)) == MESSAGE


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CUT])
def test_a_connection_ends_in_the_middle_of_a_message(
    proxy: Proxy, client: socket.socket, fault: Fault, way: Way
) -> None:
    with ThreadPoolExecutor(1) as pool:
        felt = pool.submit(proxy.strike, fault, 0.5, ways=frozenset({way}), lost=False, seed=1)
        client.settimeout(5.0)
        threading.Event().wait(0.1)
        client.sendall(MESSAGE)
        if fault is Fault.RESET:
            with pytest.raises(ConnectionResetError):
                read(client, len(MESSAGE))
        else:
            assert len(read(client, len(MESSAGE))) < len(MESSAGE)
        assert felt.result()
    assert proxy.felt == {fault: 1}


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CUT])
def test_an_idle_connection_ends_with_the_fault(proxy: Proxy, client: socket.socket, fault: Fault) -> None:
    assert proxy.strike(fault, 0.05, ways=BOTH, lost=False, seed=1)
    if fault is Fault.RESET:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    else:
        assert client.recv(1) == b""


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_withheld_comes_late_or_never(proxy: Proxy, client: socket.socket, *, lost: bool) -> None:
    with ThreadPoolExecutor(1) as pool:
        felt = pool.submit(proxy.strike, Fault.WITHHOLD, 1.0, ways=frozenset({Way.BACK}), lost=lost, seed=1)
        threading.Event().wait(0.1)
        client.sendall(MESSAGE)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(5.0)
        if lost:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert read(client, len(MESSAGE)) == MESSAGE
        assert felt.result()


def test_a_slow_link_carries_a_few_bytes_and_all_of_them_in_the_end(
    proxy: Proxy, client: socket.socket
) -> None:
    with ThreadPoolExecutor(1) as pool:
        felt = pool.submit(proxy.strike, Fault.SLOW, 1.0, ways=BOTH, lost=False, seed=1)
        threading.Event().wait(0.1)
        client.sendall(MESSAGE)
        assert len(client.recv(len(MESSAGE))) <= FEW
        assert read(client, len(MESSAGE) - FEW) == MESSAGE[FEW:]
        assert felt.result()


def test_nobody_is_let_in_while_there_is_no_target() -> None:
    with Network() as network:
        nowhere = network.proxy()
        with socket.create_connection(("127.0.0.1", nowhere.port), 5.0) as client:
            assert client.recv(1) == b""
