"""Under which names this server may be asked, and from which pages: against DNS rebinding and forged requests.

A page elsewhere on the web can make a browser send requests here, without any key when none is needed. It has two ways:
its own name, pointed at this address (then Host is foreign), or a form sent across (then Origin is).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address

from app.errors import ConfigurationError, Forbidden, Misdirected

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - named here, not bound
_REMEMBERED = 256
_HINT = "To reach this server under another name, add the name to the setting auth.hosts."


class Hosts:
    """The names of this server: of this machine, of the address it is `bound` to, and those in `names`.

    With keys needed (`keyed`), bound to the public and no `names` given, every name will do: a page that rebinds its
    name has no key, and the cookie belongs to another site and stays at home. Bound to every address of the machine,
    each address as such will do: whoever rebinds needs a name.
    """

    def __init__(self, bound: str, names: Collection[str] = (), *, keyed: bool = False) -> None:
        self._named = frozenset(_configured(name) for name in names)
        self._own = self._named | {bound.lower()}
        self._addresses = bound in _ANY_ADDRESS
        self._all = keyed and not self._named and not is_loopback(bound.lower())
        self._good: set[bytes] = set()

    def check(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        """Let a request pass or refuse it.

        :raises Misdirected: the Host header names another server.
        :raises Forbidden: the request would change something and comes from the page of another site.
        """
        host = headers.get(b"host", b"")
        if host not in self._good:
            self._admit(host)
        if method not in _SAFE:
            self._same_site(host, headers)

    def _admit(self, host: bytes) -> None:
        name = _name(host)
        if name is None or not (self._all or name in self._own or is_loopback(name) or self._address(name)):
            raise Misdirected("This server does not answer to the name in the Host header.", hint=_HINT)
        if len(self._good) < _REMEMBERED:
            self._good.add(host)

    def _address(self, name: str) -> bool:
        return self._addresses and _is_address(name)

    def _same_site(self, host: bytes, headers: Mapping[bytes, bytes]) -> None:
        """Programs send neither header; browsers send Origin with all that is not a GET."""
        origin = headers.get(b"origin")
        foreign = headers.get(b"sec-fetch-site") == b"cross-site"
        if origin is not None:
            authority = origin.partition(b"://")[2]
            foreign |= authority.lower() != host.lower() and _name(authority) not in self._named
        if foreign:
            raise Forbidden("This request comes from a page of another site.", hint=_HINT)


def is_loopback(name: str) -> bool:
    """Whether only this machine can mean itself by it."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _name(authority: bytes) -> str | None:
    """The name before the port, in lower case, as browsers may write it with a dot at the end."""
    found = _AUTHORITY.fullmatch(authority.decode("latin-1").lower())
    return (found[1] or found[2].rstrip(".")) if found else None


def _configured(name: str) -> str:
    found = _name(name.encode())
    if not found:
        raise ConfigurationError(
            f"auth.hosts: {name!r} is no name of a host; write it as in the address bar, without scheme and path."
        )
    return found
