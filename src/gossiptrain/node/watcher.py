"""A peer that trains nothing and only watches: for `gossip watch`.

Owns its life in a swarm until it is stopped. It holds no weights and takes part in no round; to peers that train it is
nobody. Does not know how a swarm is found at an address, nor how what it sees is shown.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import NodeFailedError
from gossiptrain.events import PeerChanged, PeerSeen
from gossiptrain.net.identity import Identity
from gossiptrain.net.incarnation import next_incarnation
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import PeerId
from gossiptrain.node.acquaintance import Found, find_swarm
from gossiptrain.node.lookout import Lookout
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.member_table import Change
from gossiptrain.swarm.own_heartbeat import OwnState
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.state import Donation


@dataclass(frozen=True)
class Audience:
    """Who is told what the watcher sees: the swarm once it is found, all that live, and each that comes or goes."""

    found: Callable[[RunFingerprint, PeerId], None]
    seen: Callable[[tuple[PeerSeen, ...]], None]
    changed: Callable[[PeerChanged], None]


async def watch_swarm(network: NetworkSettings, audience: Audience, *, join: str = "", stop: asyncio.Event) -> None:
    """Watches the swarm of the initial peers until `stop` is set. join: the link with which the watcher is let in.

    Raises PeerUnreachableError where nobody answers but helpers, NotAdmittedError, RunMismatchError, NodeFailedError.
    """
    with Identity.kept_or_new(network.identity_path) as identity:
        transport = await Libp2pTransport.start(network, identity)
        try:
            found = await find_swarm(transport, network, join)
            incarnation = next_incarnation(network.identity_path)
            await _Watcher(transport, network, found, audience, incarnation=incarnation).run(stop)
        finally:
            await transport.close()


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
