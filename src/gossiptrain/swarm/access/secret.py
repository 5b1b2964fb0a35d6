"""The secret that all members of a private swarm share: what they say by it is noise to everybody else.

Owns the keys that follow from the secret, and how bytes are sealed for one peer or for all members. It keeps strangers
from learning anything; it tells no member from another one: that is what credentials are for.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES = 32
_NONCE_BYTES = 12
OVERHEAD_BYTES = _NONCE_BYTES + 16
"""By which sealed bytes are longer."""


class SwarmSecret:
    """The keys that follow from the secret of a swarm."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"the secret of a swarm has {SECRET_BYTES} bytes, not {len(secret)}")
        self._cipher = ChaCha20Poly1305(_derived(secret, b"seal"))
        self._name_key = _derived(secret, b"names")

    def seal(self, data: bytes, context: bytes) -> bytes:
        """`data` for those who share the secret. context: has to be the same where it is opened."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed. Raises ValueError where it was sealed by another secret or for another context."""
        if len(sealed) < OVERHEAD_BYTES:
            raise ValueError("too short to be sealed")
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except InvalidTag:
            raise ValueError("it was sealed by another secret") from None

    def name_of(self, text: str) -> str:
        """What stands for a name where strangers can read it: 32 hexadecimal digits, the same for all members."""
        return hmac.new(self._name_key, text.encode(), hashlib.sha256).hexdigest()[:32]


def _derived(secret: bytes, purpose: bytes) -> bytes:
    info = b"gossiptrain swarm secret 1 " + purpose
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)
