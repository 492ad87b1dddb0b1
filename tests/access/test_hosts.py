"""The names this server answers to, and the pages that may change something."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.hosts import Hosts
from app.errors import ConfigurationError, Forbidden, Misdirected

LOOPBACK = [
    "localhost",
    "localhost:8000",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1",
    "127.8.8.8:1",
    "[::1]",
    "[::1]:8000",
]
FOREIGN = [
    "",
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.0.0.1",
    "127.1",
    "0.0.0.0",
    "[::2]",
    "::1",
    "localhost:8000@evil.example",
    "localhost/evil",
    "localhost, evil.example",
    "evil.example\\localhost",
    "localhost:port",
    "[localhost]",
    "[::1",
    " localhost",
]


def answers_to(hosts: Hosts, name: str) -> bool:
    try:
        hosts.check("GET", {b"host": name.encode()})
    except Misdirected:
        return False
    return True


def takes(hosts: Hosts, host: str, method: str = "POST", **headers: str) -> bool:
    said = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    try:
        hosts.check(method, {b"host": host.encode(), **said})
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize("name", LOOPBACK)
def test_this_machine_is_always_meant(name: str) -> None:
    assert answers_to(Hosts("127.0.0.1"), name)
    assert answers_to(Hosts("10.0.0.1", ["juxta.example.org"], keyed=True), name)


@pytest.mark.parametrize("name", FOREIGN)
def test_another_name_is_refused_with_or_without_keys(name: str) -> None:
    assert not answers_to(Hosts("127.0.0.1"), name)
    assert not answers_to(Hosts("127.0.0.1", ["juxta.example.org"], keyed=True), name)
    assert not answers_to(Hosts("192.168.1.5", ["juxta.example.org"], keyed=True), name)


def test_a_request_without_a_name_is_refused() -> None:
    with pytest.raises(Misdirected):
        Hosts("127.0.0.1").check("GET", {})


def test_configured_names_and_the_bound_address_are_answered_to_in_any_case_and_at_any_port() -> None:
    hosts = Hosts("192.168.1.5", ["Juxta.Example.org"], keyed=True)
    for name in ("juxta.example.org", "JUXTA.example.ORG:443", "juxta.example.org.", "192.168.1.5:8000"):
        assert answers_to(hosts, name)
    for name in ("example.org", "x.juxta.example.org", "192.168.1.6"):
        assert not answers_to(hosts, name)


@pytest.mark.parametrize("bound", ["0.0.0.0", "::"])
def test_bound_to_every_address_each_address_will_do_but_no_name(bound: str) -> None:
    hosts = Hosts(bound, ["juxta.example.org"], keyed=True)
    assert answers_to(hosts, "10.1.2.3:8000")
    assert answers_to(hosts, "[fe80::1]")
    assert not answers_to(hosts, "evil.example")


def test_bound_to_the_public_with_keys_and_without_names_every_name_will_do() -> None:
    assert answers_to(Hosts("0.0.0.0", keyed=True), "anything.example:80")
    assert answers_to(Hosts("192.168.1.5", keyed=True), "anything.example")
    assert not answers_to(Hosts("127.0.0.1", keyed=True), "anything.example")
    assert not answers_to(Hosts("0.0.0.0", keyed=True), "not a name")


@pytest.mark.parametrize("name", ["https://juxta.example.org", "juxta.example.org/", "", "a b"])
def test_a_configured_name_that_is_none_does_not_start(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"auth\.hosts"):
        Hosts("127.0.0.1", [name])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_the_own_pages_may_change_something(method: str) -> None:
    hosts = Hosts("127.0.0.1", ["juxta.example.org"])
    host = "127.0.0.1:8000"
    assert takes(hosts, host, method)
    assert takes(hosts, host, method, origin="http://127.0.0.1:8000", sec_fetch_site="same-origin")
    assert takes(
        hosts, host, method, origin="https://juxta.example.org"
    )  # a proxy before us renames the host
    assert takes(hosts, "LOCALHOST:8000", method, origin="http://localhost:8000")
    assert not takes(hosts, host, method, origin="http://evil.example")
    assert not takes(hosts, host, method, origin="http://127.0.0.1:3000")
    assert not takes(hosts, host, method, origin="http://localhost:8000")
    assert not takes(hosts, host, method, origin="null")
    assert not takes(hosts, host, method, origin="")
    assert not takes(hosts, host, method, sec_fetch_site="cross-site")
    assert not takes(hosts, host, method, origin="http://127.0.0.1:8000", sec_fetch_site="cross-site")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_only_looks_may_come_from_anywhere(method: str) -> None:
    assert takes(
        Hosts("127.0.0.1"), "localhost", method, origin="http://evil.example", sec_fetch_site="cross-site"
    )


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_header_breaks_it(host: bytes, origin: bytes) -> None:
    hosts = Hosts("127.0.0.1")
    for headers in ({b"host": host}, {b"host": b"localhost", b"origin": origin}):
        with suppress(Forbidden, Misdirected):
            hosts.check("POST", headers)


def test_what_it_remembers_is_bounded() -> None:
    hosts = Hosts("0.0.0.0", keyed=True)
    for number in range(1000):
        assert answers_to(hosts, f"name-{number}.example")
    assert len(hosts._good) < 1000
