"""The text of a key, `juxta_<id>_<secret>`: how it is drawn, read and compared.

The id is public and finds the row. The secret is 32 random bytes, and its SHA-256 is all that is stored: a slow hash
defends words that people choose against guessing, but nobody guesses one of 2^256 values, however fast the hash.
"""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

_FORM = re.compile(rb"juxta_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")
_ID_BYTES, _SECRET_BYTES = 5, 32


class Credential(NamedTuple):
    """A key that somebody holds; it may be known here or not."""

    id: str
    secret: bytes

    @property
    def text(self) -> str:
        """What is shown once, and sent with every request."""
        return f"juxta_{self.id}_{self.secret.decode()}"

    @property
    def digest(self) -> bytes:
        """What is stored of the secret."""
        return sha256(self.secret).digest()

    def matches(self, digest: bytes) -> bool:
        """Whether this is the secret that was stored, in the same time for every wrong one."""
        return compare_digest(self.digest, digest)


def draw() -> Credential:
    """A new one, from the system's randomness."""
    key_id = b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()
    return Credential(key_id, secrets.token_urlsafe(_SECRET_BYTES).encode())


def read(text: bytes) -> Credential | None:
    """The credential that this text is, if it is one at all."""
    found = _FORM.fullmatch(text)
    return Credential(found[1].decode(), found[2]) if found else None
