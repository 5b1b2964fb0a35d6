"""The link by which somebody is invited: one line of text, with all that a peer of another computer needs.

    gossip://join/RUN?d=DIGEST&a=ADDRESS&a=ADDRESS#SECRET

Owns that text, in one form only, with a checksum over what is secret. That part stands behind the `#`, which browsers
and servers do not pass on. Does not know files or flags.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, unquote

from gossiptrain.errors import AddressError, UsageError
from gossiptrain.net.addresses import parse_dial_address
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.secret import SECRET_BYTES
from gossiptrain.swarm.access.tokens import INVITE_BYTES, KEY_BYTES, Credential, Invite, public_key

SCHEME = "gossip://join/"
LIMIT_CHARS = 4096
MOST_ADDRESSES = 6
DIGEST_CHARS = 32
_CHECKSUM_BYTES = 4
_FRAGMENT_BYTES = INVITE_BYTES + KEY_BYTES + SECRET_BYTES + _CHECKSUM_BYTES
_FORM = re.compile(
    rf"gossip://join/([^?#]{{1,1000}})\?d=([0-9a-f]{{{DIGEST_CHARS}}})((?:&a=[^&#]+)+)#([\w-]+)", re.ASCII
)
_NO_SECRET = bytes(SECRET_BYTES)


@dataclass(frozen=True)
class InviteLink:
    """What a link says. run: the name. digest: of the run's fingerprint, by which a peer of another one notices."""

    run: str
    digest: str
    addresses: tuple[str, ...]
    invite: Invite
    seed: bytes = field(repr=False)
    """Of the invite's key."""
    secret: bytes = field(repr=False)
    """The swarm's; helpers are told none."""

    def __str__(self) -> str:
        """Nothing secret; the link itself is `encode`."""
        return f"the invite {self.invite.name} to the run {self.run!r}"

    def encode(self) -> str:
        """The link. Secret."""
        payload = self.invite.encode() + self.seed + self.secret
        text = base64.urlsafe_b64encode(payload + _checksum(payload)).rstrip(b"=").decode()
        addresses = "".join(f"&a={quote(address, safe='/:')}" for address in self.addresses)
        return f"{SCHEME}{quote(self.run, safe='')}?d={self.digest}{addresses}#{text}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError, which never quotes the link."""
        text = text.strip()
        found = _FORM.fullmatch(text) if len(text) <= LIMIT_CHARS else None
        if found is None:
            raise _unusable("It is not of the form gossip://join/RUN?d=...&a=...#..., or not all of it was copied.")
        try:
            link = cls._of_parts(*found.groups())
        except (ValueError, AddressError) as error:
            raise _unusable(f"It was changed, or not all of it was copied: {error}.") from None
        if link.encode() != text:
            raise _unusable("It was changed on the way.")
        return link

    @classmethod
    def _of_parts(cls, run: str, digest: str, addresses: str, fragment: str) -> Self:
        payload = base64.urlsafe_b64decode(fragment + "=" * (-len(fragment) % 4))
        if len(payload) != _FRAGMENT_BYTES:
            raise ValueError(f"its secret part has {len(payload)} bytes, not {_FRAGMENT_BYTES}")
        payload, checksum = payload[:-_CHECKSUM_BYTES], payload[-_CHECKSUM_BYTES:]
        if _checksum(payload) != checksum:
            raise ValueError("its checksum is wrong")
        invite = Invite.decode(payload[:INVITE_BYTES])
        seed, secret = payload[INVITE_BYTES : INVITE_BYTES + KEY_BYTES], payload[INVITE_BYTES + KEY_BYTES :]
        if not invite.is_of(invite.swarm) or public_key(seed) != invite.key:
            raise ValueError("its signature is wrong")
        places = tuple(unquote(part) for part in addresses.removeprefix("&a=").split("&a="))
        if len(places) > MOST_ADDRESSES or (invite.role == "helper") != (secret == _NO_SECRET):
            raise ValueError("it says what a link cannot say")
        for place in places:
            parse_dial_address(place)
        return cls(unquote(run, errors="strict"), digest, places, invite, seed, secret)

    def credential(self, peer: PeerId) -> Credential:
        """That of a peer which has come with this link."""
        return Credential.of(peer, self.invite, self.seed)


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(b"gossiptrain link 1\0" + payload).digest()[:_CHECKSUM_BYTES]


def _unusable(cause: str) -> UsageError:
    return UsageError(
        "The link cannot be used.", cause=cause, remedy="Copy the whole line that `gossip invite` has printed."
    )
