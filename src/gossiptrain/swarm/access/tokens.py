"""Invites and credentials: what the founder of a swarm signs, and what a peer shows.

Owns their bytes, of one length each and one form only, and who has to have signed what. The authority, whose public key
is the swarm's id, signs an invite, which names a key; who has that key signs for its own peer id, and both together are
a credential. So a peer makes its credential itself, and whoever knows the swarm's id can check it, both offline.
Does not know the time, the network, or who has come with an invite before.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal, Self, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gossiptrain.net.transport import PeerId

Role = Literal["trainer", "helper", "watcher"]
"""`trainer`: may train. `helper`: may only help others find each other. `watcher`: may only see who is there, and how
each fares."""
ROLES: tuple[Role, ...] = get_args(Role)
VERSION = 1
KEY_BYTES = 32
SIGNATURE_BYTES = 64
MOST_USES = 1000
NEVER = 2**40
"""The end, in unix seconds, of what does not expire."""
NOBODY = bytes(KEY_BYTES)
"""The origin of an invite that follows from no other."""
_INVITE = struct.Struct(f">B{KEY_BYTES}s{KEY_BYTES}s{KEY_BYTES}sQQHB")
INVITE_BYTES = _INVITE.size + SIGNATURE_BYTES
CREDENTIAL_BYTES = INVITE_BYTES + SIGNATURE_BYTES
_INVITE_DOMAIN = b"gossiptrain invite 1\0"
_CREDENTIAL_DOMAIN = b"gossiptrain credential 1\0"
_DERIVATION_DOMAIN = b"gossiptrain credential of a member 1\0"


def digest_of(peer: PeerId) -> bytes:
    """By which a peer stands in what is signed: the SHA-256 of its id."""
    return hashlib.sha256(peer.encode()).digest()


def sign(seed: bytes, data: bytes) -> bytes:
    """The Ed25519 signature of `data` by the key with this seed."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(data)


def is_signed(key: bytes, data: bytes, signature: bytes) -> bool:
    """Whether the owner of a public key has signed `data`."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except (ValueError, InvalidSignature):
        return False
    return True


def public_key(seed: bytes) -> bytes:
    """The public half of the key with this seed."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def new_seed() -> bytes:
    """The seed of a new key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


@dataclass(frozen=True)
class Invite:
    """What the authority has signed. swarm, key: public keys. Times are in unix seconds."""

    swarm: bytes
    key: bytes
    not_before_s: int
    not_after_s: int
    uses: int
    """Peers that may come with it."""
    role: Role
    origin: bytes = NOBODY
    """Key of the invite with which its peer has come first, where it takes the place of another one."""
    signature: bytes = bytes(SIGNATURE_BYTES)

    def encode(self) -> bytes:
        """`INVITE_BYTES` bytes."""
        return self._body() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises ValueError for all that `encode` would not have written; signatures are not looked at."""
        if len(data) != INVITE_BYTES:
            raise ValueError(f"an invite has {INVITE_BYTES} bytes, not {len(data)}")
        version, swarm, key, origin, begin_s, end_s, uses, role = _INVITE.unpack(data[: _INVITE.size])
        if version != VERSION:
            raise ValueError(f"an invite of version {version}, not {VERSION}")
        if role >= len(ROLES) or not 1 <= uses <= MOST_USES or not begin_s <= end_s <= NEVER:
            raise ValueError("a role, a number of uses, or times that cannot be")
        return cls(swarm, key, begin_s, end_s, uses, ROLES[role], origin, data[_INVITE.size :])

    @property
    def expires(self) -> bool:
        """Whether it ends at all."""
        return self.not_after_s < NEVER

    @property
    def name(self) -> str:
        """Short, for people."""
        return self.key.hex()[:12]

    def is_of(self, swarm: bytes) -> bool:
        """Whether the authority of `swarm` has signed it."""
        return self.swarm == swarm and is_signed(swarm, _INVITE_DOMAIN + self._body(), self.signature)

    def signed_by(self, seed: bytes) -> Self:
        """The same, with the signature of the authority."""
        signature = sign(seed, _INVITE_DOMAIN + self._body())
        fields = (self.swarm, self.key, self.not_before_s, self.not_after_s, self.uses, self.role, self.origin)
        return type(self)(*fields, signature)

    def _body(self) -> bytes:
        times = (self.not_before_s, self.not_after_s)
        return _INVITE.pack(VERSION, self.swarm, self.key, self.origin, *times, self.uses, ROLES.index(self.role))


@dataclass(frozen=True)
class Credential:
    """An invite, and the signature of its key over the id of one peer."""

    invite: Invite
    signature: bytes

    @classmethod
    def of(cls, peer: PeerId, invite: Invite, seed: bytes) -> Self:
        """Made by the peer itself. seed: of the invite's key."""
        return cls(invite, sign(seed, _claim(invite, peer)))

    def encode(self) -> bytes:
        """`CREDENTIAL_BYTES` bytes."""
        return self.invite.encode() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises ValueError, as `Invite.decode`."""
        if len(data) != CREDENTIAL_BYTES:
            raise ValueError(f"a credential has {CREDENTIAL_BYTES} bytes, not {len(data)}")
        return cls(Invite.decode(data[:INVITE_BYTES]), data[INVITE_BYTES:])

    def is_of(self, peer: PeerId, swarm: bytes) -> bool:
        """Whether it was made for this peer with an invite of this swarm."""
        return self.invite.is_of(swarm) and is_signed(self.invite.key, _claim(self.invite, peer), self.signature)


class Authority:
    """The key of a swarm's founder."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.swarm = public_key(seed)
        """The id of the swarm."""

    def invite(self, key: bytes, *, not_before_s: int, not_after_s: int, uses: int, role: Role) -> Invite:
        """An invite for whoever has the private half of `key`."""
        return Invite(self.swarm, key, not_before_s, not_after_s, uses, role).signed_by(self._seed)

    def credential_for(self, peer: PeerId, *, role: Role = "trainer", origin: bytes = NOBODY) -> Credential:
        """One that does not expire, for this peer alone; the same each time.

        origin: key of the invite with which the peer came, so that revoking that one puts this one out as well.
        """
        info = _DERIVATION_DOMAIN + digest_of(peer) + origin
        seed = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._seed)
        invite = Invite(self.swarm, public_key(seed), 0, NEVER, uses=1, role=role, origin=origin)
        return Credential.of(peer, invite.signed_by(self._seed), seed)

    def sign(self, data: bytes) -> bytes:
        """Its signature."""
        return sign(self._seed, data)


def _claim(invite: Invite, peer: PeerId) -> bytes:
    return _CREDENTIAL_DOMAIN + invite.encode() + digest_of(peer)
