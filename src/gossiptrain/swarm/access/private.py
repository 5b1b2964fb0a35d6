"""What a member of a private swarm shows to others, and what it makes of what they show.

Owns the own credential, the judgement over those of others, the count of who has come with which invite, and the newest
list of revocations. All of it works offline. Does not know streams, files or messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gossiptrain.core.recent import Recent
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.revocations import Revocations
from gossiptrain.swarm.access.secret import OVERHEAD_BYTES, SwarmSecret
from gossiptrain.swarm.access.tokens import (
    CREDENTIAL_BYTES,
    MOST_USES,
    NOBODY,
    Authority,
    Credential,
    digest_of,
)

_logger = logging.getLogger(__package__)
SKEW_S = 300
"""By so much the clocks of two computers may differ: an invite counts so much earlier and longer than it says."""
MAX_INVITES = 1024
"""Invites of which it is remembered who has come with them."""
MAX_PEERS = 4096
"""Peers of which it is remembered with which invite they have come."""
KNOCK_BYTES = CREDENTIAL_BYTES + OVERHEAD_BYTES
ANSWER_BYTES = 2 * CREDENTIAL_BYTES + OVERHEAD_BYTES
_NOTHING = bytes(CREDENTIAL_BYTES)

Reason = Literal["unknown", "early", "expired", "used", "revoked", "role"]
"""Why a credential does not count. unknown: it is none, or of another swarm or another peer."""


class NotAdmitted(Exception):  # noqa: N818 - an outcome, not a fault
    """The other peer is let no further."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(frozen=True)
class Holding:
    """What makes a peer a member. authority: only where the peer belongs to the user who has founded the swarm."""

    swarm: bytes
    secret: bytes = field(repr=False)
    credential: Credential = field(repr=False)
    authority: Authority | None = field(default=None, repr=False)
    revocations: Revocations | None = None


class PrivateAccess:
    """One member's side of the door."""

    def __init__(
        self,
        me: PeerId,
        holding: Holding,
        *,
        unix_time: Callable[[], float],
        keep: Callable[[Credential, Revocations], None] = lambda credential, revocations: None,
    ) -> None:
        """keep: is called where the own credential or the list of revocations is another one from now on."""
        self.secret = SwarmSecret(holding.secret)
        self.credential = holding.credential
        self.revocations = holding.revocations or Revocations(holding.swarm)
        self._me = me
        self._swarm = holding.swarm
        self._authority = holding.authority
        self._unix_time = unix_time
        self._keep = keep
        self._users: Recent[bytes, set[bytes]] = Recent(MAX_INVITES)
        """By key of the invite, the digests of the peers that have come with it."""
        self._credentials: Recent[PeerId, Credential] = Recent(MAX_PEERS)

    @property
    def founded_here(self) -> bool:
        """Whether this peer has the authority over the swarm."""
        return self._authority is not None

    # At the door.

    def knock(self, peer: PeerId) -> bytes:
        """What this peer shows to one that it calls: `KNOCK_BYTES` bytes that only a member can read."""
        return self.secret.seal(self.credential.encode(), _context(b"knock", self._me, peer))

    def admit(self, peer: PeerId, shown: bytes) -> bytes:
        """What this peer shows in its turn to a caller that has shown a credential which counts: `ANSWER_BYTES` bytes.

        With it goes a credential that does not expire, where this peer has the authority to give one. Raises
        NotAdmitted.
        """
        credential = self._judged(peer, self._opened(shown, _context(b"knock", peer, self._me), KNOCK_BYTES))
        given, invite = _NOTHING, credential.invite
        if self._authority is not None and invite.expires:
            given = self._authority.credential_for(peer, role=invite.role, origin=invite.key).encode()
        return self.secret.seal(self.credential.encode() + given, _context(b"answer", self._me, peer))

    def check_answer(self, peer: PeerId, shown: bytes) -> None:
        """Whether the one that was called is a member itself. Raises NotAdmitted."""
        opened = self._opened(shown, _context(b"answer", peer, self._me), ANSWER_BYTES)
        self._judged(peer, opened[:CREDENTIAL_BYTES])
        if (given := opened[CREDENTIAL_BYTES:]) != _NOTHING:
            self._take(given)

    # Those who were thrown out.

    def learn(self, data: bytes) -> bool:
        """Takes in a list of revocations; says whether it is newer than what was known. False for all else."""
        try:
            heard = Revocations.decode(data)
        except ValueError:
            return False
        if heard.serial <= self.revocations.serial or not heard.is_of(self._swarm):
            return False
        self.revocations = heard
        _logger.info("heard of %d revocations, number %d", len(heard.entries), heard.serial)
        self._keep(self.credential, heard)
        return True

    def newer_than(self, serial: int) -> bytes:
        """The list of revocations; nothing where the one of that number is as new."""
        return self.revocations.encode() if self.revocations.serial > serial else b""

    def is_revoked(self, peer: PeerId) -> bool:
        """Whether the peer was thrown out, itself or by the invite with which it came here."""
        known = self._credentials.get(peer)
        return self.revocations.names(peer, None if known is None else known.invite)

    def only_watches(self, peer: PeerId) -> bool:
        """Whether the peer has shown a credential with which it may see the swarm, and not take part in it."""
        known = self._credentials.get(peer)
        return known is not None and known.invite.role == "watcher"

    def _opened(self, shown: bytes, context: bytes, length: int) -> bytes:
        if len(shown) != length:
            raise NotAdmitted("unknown")
        try:
            return self.secret.open(shown, context)
        except ValueError:
            raise NotAdmitted("unknown") from None

    def _judged(self, peer: PeerId, encoded: bytes) -> Credential:
        try:
            credential = Credential.decode(encoded)
        except ValueError:
            raise NotAdmitted("unknown") from None
        invite = credential.invite
        if not credential.is_of(peer, self._swarm):
            raise NotAdmitted("unknown")
        if invite.role == "helper":
            raise NotAdmitted("role")
        if self.revocations.names(peer, invite):
            raise NotAdmitted("revoked")
        now_s = self._unix_time()
        if now_s < invite.not_before_s - SKEW_S:
            raise NotAdmitted("early")
        if now_s > invite.not_after_s + SKEW_S:
            raise NotAdmitted("expired")
        self._count(peer, credential)
        self._credentials[peer] = credential
        return credential

    def _count(self, peer: PeerId, credential: Credential) -> None:
        """Raises NotAdmitted where as many others have come with the invite as may."""
        invite = credential.invite
        came_with = invite.key if invite.origin == NOBODY else invite.origin
        users = self._users.get(came_with) or set()
        digest = digest_of(peer)
        # Who was given a credential by the authority has been counted there.
        if invite.origin == NOBODY and digest not in users and len(users) >= invite.uses:
            raise NotAdmitted("used")
        if len(users) < MOST_USES:
            users.add(digest)
        self._users[came_with] = users

    def _take(self, given: bytes) -> None:
        """A credential that the authority gives this peer in place of its own one."""
        try:
            credential = Credential.decode(given)
        except ValueError:
            return
        invite, mine = credential.invite, self.credential.invite
        follows = invite.origin == mine.key and invite.role == mine.role and not invite.expires
        if mine.expires and follows and credential.is_of(self._me, self._swarm):
            self.credential = credential
            _logger.info("was given a credential that does not expire")
            self._keep(credential, self.revocations)


def _context(direction: bytes, sender: PeerId, receiver: PeerId) -> bytes:
    return direction + digest_of(sender) + digest_of(receiver)
