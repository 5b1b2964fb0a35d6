"""Who was thrown out of a private swarm: a list that its authority has signed, of which the newest counts.

Owns the list's bytes and what it says of a credential. Does not know how it spreads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.tokens import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    VERSION,
    Authority,
    Invite,
    digest_of,
    is_signed,
)

_HEAD = struct.Struct(f">B{KEY_BYTES}sQH")
_DOMAIN = b"gossiptrain revocations 1\0"
MOST_ENTRIES = 120
LIMIT_BYTES = _HEAD.size + MOST_ENTRIES * KEY_BYTES + SIGNATURE_BYTES
MAX_SERIAL = 2**53


@dataclass(frozen=True)
class Revocations:
    """The peers, by their digests, and the invites, by their keys, that count no more. serial: grows with each.

    One list for both: the digest of an id and a key are never equal by chance.
    """

    swarm: bytes
    serial: int = 0
    entries: frozenset[bytes] = frozenset()
    signature: bytes = bytes(SIGNATURE_BYTES)

    def encode(self) -> bytes:
        """At most `LIMIT_BYTES` bytes."""
        return self._body() + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises ValueError for all that `encode` would not have written; the signature is not looked at."""
        if not _HEAD.size + SIGNATURE_BYTES <= len(data) <= LIMIT_BYTES:
            raise ValueError("a list of revocations of a length that cannot be")
        version, swarm, serial, count = _HEAD.unpack(data[: _HEAD.size])
        body, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
        if version != VERSION or serial > MAX_SERIAL or len(body) != _HEAD.size + count * KEY_BYTES:
            raise ValueError("a list of revocations of another version or length")
        entries = [body[start : start + KEY_BYTES] for start in range(_HEAD.size, len(body), KEY_BYTES)]
        found = cls(swarm, serial, frozenset(entries), signature)
        if found._body() != body:
            raise ValueError("a list of revocations that is not in order")
        return found

    def is_of(self, swarm: bytes) -> bool:
        """Whether the authority of `swarm` has signed it."""
        return self.swarm == swarm and is_signed(swarm, _DOMAIN + self._body(), self.signature)

    def with_more(self, entries: Iterable[bytes], authority: Authority) -> Self:
        """The next list. Raises ValueError where there is no more room."""
        more = self.entries | frozenset(entries)
        if len(more) > MOST_ENTRIES:
            raise ValueError(f"a list of revocations has room for {MOST_ENTRIES} peers and invites")
        bare = type(self)(authority.swarm, self.serial + 1, more)
        return type(self)(bare.swarm, bare.serial, bare.entries, authority.sign(_DOMAIN + bare._body()))

    def names(self, peer: PeerId, invite: Invite | None) -> bool:
        """Whether the peer is out, itself or by the invite with which it came."""
        if digest_of(peer) in self.entries:
            return True
        return invite is not None and not self.entries.isdisjoint((invite.key, invite.origin))

    def _body(self) -> bytes:
        head = _HEAD.pack(VERSION, self.swarm, self.serial, len(self.entries))
        return head + b"".join(sorted(self.entries))
