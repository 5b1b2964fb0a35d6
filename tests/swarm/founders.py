"""Founders of private swarms for tests, and those whom they invite."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.link import InviteLink
from gossiptrain.swarm.access.private import Holding, PrivateAccess
from gossiptrain.swarm.access.revocations import Revocations
from gossiptrain.swarm.access.tokens import NEVER, Authority, Credential, new_seed, public_key

NOW_S = 1_800_000_000
DAY_S = 86_400
ADDRESS = "/ip4/127.0.0.1/tcp/4011/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


def now() -> float:
    """A clock that stands still."""
    return float(NOW_S)


@dataclass
class Founder:
    """The authority and the secret of one swarm."""

    seed: bytes = field(default_factory=new_seed)
    secret: bytes = field(default_factory=new_seed)

    @property
    def authority(self) -> Authority:
        return Authority(self.seed)

    @property
    def swarm(self) -> bytes:
        return self.authority.swarm

    def link(self, **changes: Any) -> InviteLink:
        """One that is valid for a day. changes: of its invite."""
        seed = new_seed()
        usual = {"not_before_s": NOW_S, "not_after_s": NOW_S + DAY_S, "uses": 5, "role": "trainer"}
        invite = self.authority.invite(public_key(seed), **{**usual, **changes})
        secret = bytes(32) if invite.role == "helper" else self.secret
        return InviteLink("run", "ab" * 16, (ADDRESS,), invite, seed, secret)

    def own(self, me: PeerId, *, unix_time: Callable[[], float] = now) -> PrivateAccess:
        """A peer of the founder's user."""
        credential = self.authority.credential_for(me)
        holding = Holding(self.swarm, self.secret, credential, self.authority)
        return PrivateAccess(me, holding, unix_time=unix_time)

    def invited(self, me: PeerId, link: InviteLink | None = None, **options: Any) -> PrivateAccess:
        """A peer that has come with a link. options: of `PrivateAccess`."""
        return self.with_credential(me, (link or self.link()).credential(me), **options)

    def with_credential(self, me: PeerId, credential: Credential, **options: Any) -> PrivateAccess:
        """A peer that knows the secret and shows this credential."""
        return PrivateAccess(me, Holding(self.swarm, self.secret, credential), **{"unix_time": now, **options})

    def revoking(self, *entries: bytes, before: Revocations | None = None) -> Revocations:
        """The next list."""
        return (before or Revocations(self.swarm)).with_more(entries, self.authority)

    def forever(self) -> InviteLink:
        """A link that does not expire."""
        return self.link(not_after_s=NEVER)


def changed(credential: Credential, **changes: Any) -> Credential:
    """With other fields in its invite, and the signatures as they were."""
    return Credential(dataclasses.replace(credential.invite, **changes), credential.signature)
