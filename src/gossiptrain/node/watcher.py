"""A peer that trains nothing and only watches: for `gossip watch`.

Owns how it finds out which swarm lives at an address, and its life there until it is stopped. It holds no weights and
takes part in no round; to peers that train it is nobody. Does not know how what it sees is shown.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.errors import NodeFailedError, NotAdmittedError, RunMismatchError, UsageError
from gossiptrain.events import PeerChanged, PeerSeen
from gossiptrain.net.identity import Identity
from gossiptrain.net.incarnation import next_incarnation
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import PeerId
from gossiptrain.node.access import introduced_as_member
from gossiptrain.node.kept_membership import KeptMembership
from gossiptrain.node.lookout import Lookout
from gossiptrain.node.own_swarms import OwnSwarms
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.access.refusals import not_admitted
from gossiptrain.swarm.admission import Admission, Introduced
from gossiptrain.swarm.dialling import dial_all
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.member_table import Change
from gossiptrain.swarm.own_heartbeat import OwnState
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.state import Donation


@dataclass(frozen=True)
class Found:
    """The swarm at an address. access: what makes the watcher a member; None where the swarm is open."""

    fingerprint: RunFingerprint
    access: PrivateAccess | None


@dataclass(frozen=True)
class Audience:
    """Who is told what the watcher sees: the swarm once it is found, all that live, and each that comes or goes."""

    found: Callable[[RunFingerprint, PeerId], None]
    seen: Callable[[tuple[PeerSeen, ...]], None]
    changed: Callable[[PeerChanged], None]


async def watch_swarm(network: NetworkSettings, audience: Audience, *, join: str = "", stop: asyncio.Event) -> None:
    """Watches the swarm of the initial peers until `stop` is set. join: the link with which the watcher is let in.

    Raises PeerUnreachableError where nobody answers, NotAdmittedError, RunMismatchError, UsageError where only a helper
    lives there, NodeFailedError.
    """
    with Identity.kept_or_new(network.identity_path) as identity:
        transport = await Libp2pTransport.start(network, identity)
        try:
            found = await _find(transport, network, join)
            incarnation = next_incarnation(network.identity_path)
            await _Watcher(transport, network, found, audience, incarnation=incarnation).run(stop)
        finally:
            await transport.close()


async def _find(transport: Libp2pTransport, network: NetworkSettings, join: str) -> Found:
    """Asks the initial peers for the run that they take part in, the first that says."""
    timeout_s = network.timing.dial_timeout_s
    dialled = await dial_all(transport, network.initial_peers, timeout_s=timeout_s)
    dialled.check()
    refused: Exception | None = None
    for peer in dialled.reached:
        try:
            return await _ask(transport, peer, network, join)
        except (RunMismatchError, UsageError, ConnectionError, TimeoutError) as error:
            refused = refused or error
    if isinstance(refused, RunMismatchError | UsageError):
        raise refused
    raise NotAdmittedError(
        "The peers at these addresses do not say which run they take part in.",
        cause=str(refused) if refused is not None and str(refused) else "They do not answer in time.",
        remedy="`gossip doctor ADDRESS` finds out where the way to them ends.",
    )


async def _ask(transport: Libp2pTransport, peer: PeerId, network: NetworkSettings, join: str) -> Found:
    timing = network.timing
    access = None
    if join:
        access = PrivateAccess(
            transport.peer_id, KeptMembership(link=join).holding(transport.peer_id), unix_time=time.time
        )
    introduced = await Admission(transport, None, timing=timing, access=access).introduce(peer)
    reply = introduced.reply
    if reply.kind == "helper":
        raise UsageError(
            f"The peer {peer} only helps others find each other: it is of no swarm.",
            remedy="Use the address of a peer that trains, as it prints it.",
        )
    if introduced.welcome is None and not join and reply.kind == "private":
        return await _own(transport, peer, introduced, within_s=timing.dial_timeout_s)
    if introduced.welcome is None:
        raise _refused(peer, introduced)
    return Found(introduced.welcome.hello.fingerprint, access)


async def _own(transport: Libp2pTransport, peer: PeerId, stranger: Introduced, *, within_s: float) -> Found:
    """A private swarm that this user has founded on this computer needs no link."""
    if stranger.reply.protocol != PROTOCOL_VERSION:
        raise _refused(peer, stranger)
    introduced = await introduced_as_member(transport, peer, run=None, within_s=within_s)
    if introduced is None or introduced.welcome is None:
        raise not_admitted(peer, "unknown")
    fingerprint = introduced.welcome.hello.fingerprint
    swarm = OwnSwarms().find(fingerprint.run)
    if swarm is None:
        raise not_admitted(peer, "unknown")
    access = PrivateAccess(transport.peer_id, swarm.holding(transport.peer_id), unix_time=time.time)
    return Found(fingerprint, access)


def _refused(peer: PeerId, introduced: Introduced) -> RunMismatchError:
    reply = introduced.reply
    if reply.protocol != PROTOCOL_VERSION:
        return RunMismatchError(
            f"The peer {peer} speaks protocol {reply.protocol}, and this computer {PROTOCOL_VERSION}.",
            cause="The two have different versions of gossiptrain.",
            remedy="Install the same version here.",
        )
    reason = "open" if reply.kind == "open" else reply.refusal if reply.refusal not in ("", "version") else "unknown"
    return not_admitted(peer, reason)


class _Watcher:
    """One stay in one swarm."""

    def __init__(
        self,
        transport: Libp2pTransport,
        network: NetworkSettings,
        found: Found,
        audience: Audience,
        *,
        incarnation: int,
    ) -> None:
        self._transport = transport
        self._network = network
        self._audience = audience
        self._peer = SwarmPeer(
            Environment(transport, random.Random(os.urandom(16)), incarnation, found.access),
            found.fingerprint,
            settings=GossipSettings(),
            timing=network.timing,
            donate=_gives_nothing,
            role="observer",
            on_change=self._note_change,
        )
        self._peer.membership.describe(OwnState(joined=False))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises NodeFailedError where libp2p's daemon ends."""
        peer = self._peer
        await peer.open()
        background: list[asyncio.Task[object]] = [asyncio.create_task(peer.run())]
        try:
            await peer.join(self._network.initial_peers)
            self._audience.found(peer.fingerprint, self._transport.peer_id)
            background.append(asyncio.create_task(Lookout(peer, self._audience.seen, trains=False).run()))
            ended: asyncio.Task[object] = asyncio.create_task(self._transport.daemon_exited.wait())
            stopped: asyncio.Task[object] = asyncio.create_task(stop.wait())
            background += [ended, stopped]
            done, _ = await asyncio.wait(background, return_when=asyncio.FIRST_COMPLETED)
            if ended in done:
                raise NodeFailedError("libp2p's daemon has ended.", remedy="Start watching again.")
            for task in done:
                task.result()
            await peer.leave()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    def _note_change(self, change: Change, peer: PeerId) -> None:
        membership = self._peer.membership
        if change in ("joined", "left", "lost") and not membership.only_watches(peer):
            peers = len(membership.participants())
            self._audience.changed(PeerChanged(peer_id=peer, change=change, peers=peers))


async def _gives_nothing(held: HeldAverage | None, fragment: int) -> Donation | None:
    return None
