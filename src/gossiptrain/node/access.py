"""What makes the peer of this node a member of its swarm, and how that is kept up while it runs.

Owns the choice: an open swarm, a link or what is kept of one, or else the swarm of this name that the own user has
founded. Keeps what the swarm gives, tells `gossip invite` that the peer lives, and notices when `gossip revoke` has
changed the list. Does not know what a member may do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from gossiptrain.config import TimingSettings
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import NotAdmittedError, RunMismatchError, UsageError
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.node import control
from gossiptrain.node.kept_membership import KeptMembership
from gossiptrain.node.living_peers import MOST_OTHERS, LivingPeer, LivingPeers
from gossiptrain.node.own_swarms import OwnSwarm, OwnSwarms
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.access.refusals import of_another_run
from gossiptrain.swarm.access.revocations import Revocations
from gossiptrain.swarm.access.tokens import Credential
from gossiptrain.swarm.address_book import peer_of
from gossiptrain.swarm.admission import Admission, Introduced
from gossiptrain.swarm.intake import tellable_addresses
from gossiptrain.swarm.membership import Membership

_logger = logging.getLogger(__package__)
MOST_SWARMS = 16
"""Of this user, of which a peer may be that refuses this one."""
LOOK_S = 2.0
"""How often the files are looked at and written."""


def access_of(configure: control.Configure, me: PeerId) -> PrivateAccess | None:
    """None for an open swarm. Raises UsageError."""
    network, run = configure.network, configure.fingerprint.run
    if network.open:
        return None
    path = Path(network.membership_path).expanduser() if network.membership_path else None
    kept = None if path is None else KeptMembership.read(path)
    if configure.join and (kept is None or kept.link != configure.join):
        kept = KeptMembership(link=configure.join)
    if kept is not None:
        return _invited(kept, path, me)
    try:
        own = OwnSwarms().found(run)
    except OSError as error:
        own = OwnSwarm.new(run)
        _logger.warning(
            "the swarm cannot be kept in %s (%s): no other peer can join it; --open does without",
            OwnSwarms().folder,
            error.strerror,
        )
    return PrivateAccess(me, own.holding(me), unix_time=time.time)


def _invited(kept: KeptMembership, path: Path | None, me: PeerId) -> PrivateAccess:
    def keep(credential: Credential, revocations: Revocations) -> None:
        if path is None:
            return
        changed = {"credential": credential.encode().hex(), "revocations": revocations.encode().hex()}
        try:
            kept.model_copy(update=changed).write(path)
        except OSError as error:
            _logger.warning("the membership cannot be kept in %s: %s", path, error.strerror)

    access = PrivateAccess(me, kept.holding(me), unix_time=time.time, keep=keep)
    keep(access.credential, access.revocations)
    return access


async def introduced_as_member(
    transport: Transport, peer: PeerId, *, run: str | None, within_s: float
) -> Introduced | None:
    """What a peer says to a visitor who is a member of one of this user's own swarms; None where it is of none of them.

    run: of the swarm that is tried first. Raises UnreachableError, StreamClosedError, ProtocolViolationError or
    TimeoutError.
    """
    try:
        swarms = OwnSwarms().all()
    except UsageError:
        return None
    for swarm in sorted(swarms, key=lambda swarm: swarm.run != run)[:MOST_SWARMS]:
        access = PrivateAccess(transport.peer_id, swarm.holding(transport.peer_id), unix_time=time.time)
        admission = Admission(transport, None, timing=TimingSettings(dial_timeout_s=within_s), access=access)
        with contextlib.suppress(NotAdmittedError):
            introduced = await admission.introduce(peer)
            if introduced.welcome is not None:
                return introduced
    return None


async def mismatch_with(
    transport: Transport, addresses: Iterable[str], fingerprint: RunFingerprint, *, within_s: float
) -> RunMismatchError | None:
    """In what a peer of this user at one of the addresses differs that is of another run, and so of another swarm."""
    for peer in dict.fromkeys(peer for peer in map(peer_of, addresses) if peer is not None):
        try:
            introduced = await introduced_as_member(transport, peer, run=None, within_s=within_s)
        except (ConnectionError, TimeoutError):
            continue
        if introduced is not None and introduced.welcome is not None:
            difference = fingerprint.difference(introduced.welcome.hello.fingerprint)
            return None if difference is None else of_another_run(peer, difference)
    return None


class Upkeep:
    """While a peer of the founder's user runs: it can be invited to, and hears of revocations."""

    def __init__(
        self,
        fingerprint: RunFingerprint,
        membership: Membership,
        *,
        addresses: Callable[[], tuple[str, ...]],
        swarms: OwnSwarms | None = None,
    ) -> None:
        self._fingerprint = fingerprint
        self._membership = membership
        self._addresses = addresses
        self._swarms = swarms or OwnSwarms()
        self._living = LivingPeers(self._swarms, fingerprint.run)
        self._told: LivingPeer | None = None
        self._changed_ns = 0

    async def run(self) -> NoReturn:
        """Until cancelled."""
        try:
            while True:
                self._tell()
                self._look()
                await asyncio.sleep(LOOK_S)
        finally:
            self._living.forget(self._membership.me)

    def _tell(self) -> None:
        live = self._membership.live().values()
        others = [beat.addresses[0] for beat in live if beat.addresses][:MOST_OTHERS]
        now = LivingPeer(
            peer=self._membership.me,
            pid=os.getpid(),
            digest=self._fingerprint.key,
            task=self._fingerprint.task[:256],
            addresses=list(tellable_addresses(self._addresses())),
            others=others,
        )
        if now == self._told:
            return
        try:
            self._living.tell(now)
            self._told = now
        except OSError as error:
            _logger.info("`gossip invite` cannot be told of this peer: %s", error)

    def _look(self) -> None:
        path = self._swarms.path(self._fingerprint.run)
        try:
            changed_ns = path.stat().st_mtime_ns
            if changed_ns == self._changed_ns:
                return
            own = self._swarms.find(self._fingerprint.run)
        except (OSError, UsageError) as error:
            _logger.info("whether somebody was thrown out cannot be looked up: %s", error)
            return
        self._changed_ns = changed_ns
        if own is not None:
            self._membership.learn_revocations(own.revoked.encode())
