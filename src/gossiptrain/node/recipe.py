"""How the swarm at an address trains, asked before this peer's own training is put together.

Owns the short stay in which that is asked, under the identity that the peer has later: who was invited counts once.
Does not know what becomes of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import PeerUnreachableError
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.node.acquaintance import Found, find_swarm
from gossiptrain.node.nearby import Wanted, find_nearby
from gossiptrain.swarm.access.refusals import not_admitted
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.recipe import ask_recipe
from gossiptrain.swarm.recipe_messages import Recipe

ASKING = {
    "host_maddrs": ("/ip4/127.0.0.1/tcp/0",),
    "announce_maddrs": (),
    "direct": "libp2p",
    "direct_port": 0,
    "relay": False,
    "local_network": False,
    "search_local_network": False,
}
"""Network settings of who only asks: the ports that the user has named are left to the peer itself."""


ANY_SWARM = Wanted()


@dataclass(frozen=True)
class Learnt:
    """What a member has told. recipe: None where its training is a program of its user's own."""

    peer: PeerId
    run: str
    recipe: Recipe | None


async def learn_recipe(
    network: NetworkSettings, identity: Identity, *, join: str = "", wanted: Wanted = ANY_SWARM
) -> Learnt:
    """Asks the initial peers, or where there are none those of the local network.

    join: the link with which this peer comes, or nothing. wanted: of the swarms on the local network. Raises what
    `find_swarm` and `find_nearby` raise, NodeFailedError, and PeerUnreachableError where a member does not answer.
    """
    transport = await Libp2pTransport.start(network.model_copy(update=ASKING), identity)
    try:
        if network.search_local_network and not network.initial_peers:
            return await _told(transport, network, await find_nearby(transport, network, wanted))
        return await asked(transport, network, join=join)
    finally:
        await transport.close()


async def asked(transport: Transport, network: NetworkSettings, *, join: str = "") -> Learnt:
    """What one of the initial peers tells, from a transport that is there."""
    return await _told(transport, network, await find_swarm(transport, network, join))


async def _told(transport: Transport, network: NetworkSettings, found: Found) -> Learnt:
    if found.access is None and not network.open:
        raise not_admitted(found.peer, "open")
    admission = Admission(transport, found.fingerprint, timing=network.timing, access=found.access)
    try:
        recipe = await ask_recipe(admission, found.peer)
    except (ConnectionError, TimeoutError) as error:
        raise PeerUnreachableError(
            f"The peer {found.peer} does not tell how it trains: {str(error) or 'no answer in time'}.",
            cause="It has just left, or it is of another version.",
            remedy="Try again, or with the address of another peer.",
        ) from error
    return Learnt(found.peer, found.fingerprint.run, recipe)
