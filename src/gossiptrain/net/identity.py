"""The identity of a peer: an Ed25519 key in libp2p's form, kept in a file under a lock.

Owns key files, peer ids and signatures. Does not know transports. The file holds libp2p's `PrivateKey` protobuf, the
id is the base58 form of the public key itself, so that a signature can be checked from the id alone.
"""

from __future__ import annotations

import fcntl
import functools
import os
import tempfile
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gossiptrain.errors import IdentityInUseError, UsageError
from gossiptrain.net.transport import PeerId

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
MAX_TEXT_LENGTH = 128
"""Longest text that is decoded; decoding takes quadratic time."""


def encode_base58(data: bytes) -> str:
    """The text of `data`; each leading zero byte becomes a leading "1"."""
    number = int.from_bytes(data, "big")
    letters = []
    while number:
        number, value = divmod(number, 58)
        letters.append(_ALPHABET[value])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(letters))


def decode_base58(text: str) -> bytes:
    """The bytes that `text` stands for. Raises ValueError for a foreign letter or a text that is too long."""
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError("too long for base58")
    number = 0
    for letter in text:
        if letter not in _VALUES:
            raise ValueError("not base58")
        number = number * 58 + _VALUES[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


_KEY_BYTES = 32
# Both fields of the protobuf message: 1 = key type (1: Ed25519), 2 = key data, here its tag and length.
_PRIVATE_PREFIX = bytes([0x08, 0x01, 0x12, 2 * _KEY_BYTES])
_PUBLIC_PREFIX = bytes([0x08, 0x01, 0x12, _KEY_BYTES])
# A multihash that hashes nothing: 0 = identity, then the length of the protobuf that follows.
_MULTIHASH_PREFIX = bytes([0x00, len(_PUBLIC_PREFIX) + _KEY_BYTES])


class Identity:
    """A private key and the peer id that goes with it. One loaded from a file holds the file's lock until `close`."""

    def __init__(self, private_key: Ed25519PrivateKey, lock: int | None = None) -> None:
        self._private_key = private_key
        self._lock = lock
        self._public_bytes = private_key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.peer_id = PeerId(encode_base58(_MULTIHASH_PREFIX + _PUBLIC_PREFIX + self._public_bytes))

    @classmethod
    def generate(cls) -> Identity:
        """A new identity that is kept in no file."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def kept_or_new(cls, path: str | None) -> Identity:
        """The identity in the file `path`, as `load_or_create`; where there is no path, a new one for this start."""
        return cls.generate() if path is None else cls.load_or_create(path)

    @classmethod
    def load_or_create(cls, path: str | Path) -> Identity:
        """Loads the identity from `path`, or makes one and keeps it there, readable by its owner only.

        Raises IdentityInUseError while another live peer has loaded it, UsageError where the file is none of ours.
        """
        file = Path(path).expanduser()
        lock = _acquire_lock(file)
        try:
            if not file.exists():
                _write_new(file, cls.generate().to_protobuf())
            return cls(_read_key(file), lock)
        except BaseException:
            os.close(lock)
            raise

    def to_protobuf(self) -> bytes:
        """libp2p's `PrivateKey` message, as it stands in an identity file. Secret."""
        private_bytes = self._private_key.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        return _PRIVATE_PREFIX + private_bytes + self._public_bytes

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of `data`, 64 bytes."""
        return self._private_key.sign(data)

    def close(self) -> None:
        """Lets other peers use the identity file. May be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def verify(peer_id: PeerId, data: bytes, signature: bytes) -> bool:
    """Whether `signature` over `data` was made under the identity of `peer_id`. Malformed ids have no signatures."""
    try:
        _public_key(peer_id).verify(signature, data)
    except (ValueError, InvalidSignature):
        return False
    return True


def is_peer_id(text: str) -> bool:
    """Whether `text` is the id of an Ed25519 identity, such as every peer of this project has."""
    try:
        _public_key(text)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def _public_key(peer_id: str) -> Ed25519PublicKey:
    decoded = decode_base58(peer_id)
    prefix = _MULTIHASH_PREFIX + _PUBLIC_PREFIX
    if len(decoded) != len(prefix) + _KEY_BYTES or not decoded.startswith(prefix):
        raise ValueError("not the id of an Ed25519 identity")
    return Ed25519PublicKey.from_public_bytes(decoded[len(prefix) :])


def _acquire_lock(file: Path) -> int:
    lock_file = file.with_name(file.name + ".lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(file, cause=f"{lock_file} cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise IdentityInUseError(
            f"The identity {file} is in use by another live peer (process {holder}).",
            cause="Two peers with one identity would cut off each other's connections.",
            remedy="Stop the other peer, or give this one an identity of its own.",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _write_new(file: Path, content: bytes) -> None:
    """Writes a file that nobody ever sees half written. mkstemp makes it readable by its owner only."""
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with open(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise _unusable(file, cause=f"It cannot be written: {error.strerror}.") from error


def _read_key(file: Path) -> Ed25519PrivateKey:
    try:
        with file.open("rb") as stream:
            content = stream.read(4096)
    except OSError as error:
        raise _unusable(file, cause=f"It cannot be read: {error.strerror}.") from error
    body = content[len(_PRIVATE_PREFIX) :]
    if not content.startswith(_PRIVATE_PREFIX) or len(body) != 2 * _KEY_BYTES:
        raise _unusable(file, cause="It does not hold an Ed25519 key in libp2p's form.")
    identity = Identity(Ed25519PrivateKey.from_private_bytes(body[:_KEY_BYTES]))
    if identity.to_protobuf() != content:
        raise _unusable(file, cause="The two halves of the key in it do not belong together.")
    return Ed25519PrivateKey.from_private_bytes(body[:_KEY_BYTES])


def _unusable(file: Path, *, cause: str) -> UsageError:
    return UsageError(
        f"The identity file {file} is not usable.",
        cause=cause,
        remedy="Name another file; one that does not exist yet is made with a new identity.",
    )
