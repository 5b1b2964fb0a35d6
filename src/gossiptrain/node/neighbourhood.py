"""How the node is found on the local network, and finds others there, with no address.

Owns when that happens, and what is said where nobody is found. Does not know what is announced, nor what is believed of
it: that is `net.local_network`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import PeerUnreachableError
from gossiptrain.net.addresses import join_addresses
from gossiptrain.swarm.peer import SwarmPeer
from gossiptrain.swarm.rendezvous import Rendezvous

if TYPE_CHECKING:
    from gossiptrain.net.local_network import LocalNetwork

_logger = logging.getLogger(__package__)
SEARCH_S = 6.0
"""How long somebody is looked for. Who is there answers within half a second, unless it starts just now."""


class Neighbourhood:
    """What one peer does on the networks to which its computer is attached."""

    def __init__(self, peer: SwarmPeer, network: NetworkSettings) -> None:
        self._peer = peer
        self._network = network
        self._local: LocalNetwork | None = None

    def _opened(self) -> LocalNetwork:
        """Raises OSError."""
        if self._local is None:
            # Imported late, since where it is switched off a node's whole life passes without.
            from gossiptrain.net.local_network import LocalNetwork

            # Of a private swarm strangers are not even told the run.
            name = Rendezvous(self._peer.admission).key
            self._local = LocalNetwork.open(name, self._peer.transport.peer_id)
        return self._local

    async def run(self) -> None:
        """Makes the peer known until cancelled; where that is not possible, others need an address."""
        addresses = self._peer.transport.addresses
        places = join_addresses(addresses)
        listens = bool(places.this_network or places.internet)
        try:
            if self._network.local_network and listens:
                try:
                    await self._opened().announce(addresses)
                except OSError as error:
                    _logger.info("nobody is told of this peer on the local network: %s", error)
            await asyncio.Event().wait()
        finally:
            if self._local is not None:
                await self._local.close()

    async def join(self) -> None:
        """Looks for a peer of the run and joins it. Raises PeerUnreachableError where there is none."""
        try:
            local = self._opened()
        except OSError as error:
            raise PeerUnreachableError(
                "The local network cannot be searched for peers.", cause=f"{error}.", remedy=JOIN_BY_ADDRESS
            ) from error
        clock = self._peer.transport.clock
        until_s = clock.now() + SEARCH_S
        local.look()
        heard = False
        while (left_s := until_s - clock.now()) > 0:
            addresses = await local.neighbours(within_s=left_s)
            if addresses and await self._peer.join_found(addresses):
                return
            heard = heard or bool(addresses)
        raise PeerUnreachableError(
            f"No peer of the run {self._peer.fingerprint.run!r} answers on the local network.",
            cause=cause_of_silence(others=len(local.others), heard=heard),
            remedy=JOIN_BY_ADDRESS,
        )


JOIN_BY_ADDRESS = (
    "Start the first peer without --join; where one is running, give an address that it prints: "
    "--join /ip4/.../tcp/.../p2p/... `gossip doctor ADDRESS` finds out where the way to it ends."
)


def cause_of_silence(*, others: int, heard: bool) -> str:
    """Why nobody may have answered. others: how many of other runs did. heard: whether one of this run is announced."""
    looked = f"It was looked for by multicast DNS for {SEARCH_S:g} s."
    if heard:
        return (
            f"{looked} One announces itself and cannot be reached: a firewall may stand between, or it has just ended."
        )
    if others:
        return (
            f"{looked} {others} of other runs did answer, so multicast passes: name of the run, task, model, strategy "
            "or version differ, or it is a private swarm that this peer has no key to."
        )
    return (
        f"{looked} Nothing answered at all: none is running, it is in another subnet, it was started with "
        "--no-local-network or listens for its own computer only, or something drops multicast, as a firewall at UDP "
        "port 5353 and many Wi-Fi networks for guests do."
    )
