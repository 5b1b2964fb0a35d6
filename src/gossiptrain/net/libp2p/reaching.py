"""Reaching a peer that may be gone, again and again, through libp2p's daemon.

Owns the look whether anything answers at an address before the daemon is asked to dial it: the daemon refuses an
address at which it has failed for longer and longer, up to five minutes, and would still do so when a network that was
cut is whole again. Does not know when somebody is worth a try.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from gossiptrain.errors import AddressError
from gossiptrain.net.addresses import Address, parse_dial_address
from gossiptrain.net.identity import is_peer_id
from gossiptrain.net.libp2p.daemon_control import DaemonControl
from gossiptrain.net.libp2p.hivemind_names import PeerID, p2pd_pb2
from gossiptrain.net.libp2p.packed_address import packed_address
from gossiptrain.net.transport import PeerId, UnreachableError

PROBE_S = 4.0
"""Enough for a second and a third attempt of the system, after 1 and 3 s, on a link that loses packets."""


async def reach(control: DaemonControl, peer: PeerId, addresses: Sequence[str]) -> None:
    """Connects to `peer` at whichever of `addresses` answers, all tried at once. Raises UnreachableError."""
    if not is_peer_id(peer):
        raise UnreachableError("this is not the id of a peer")
    packed = PeerID.from_base58(peer).to_bytes()
    if await _is_connected(control, packed):
        return
    places = _usable(peer, addresses)
    answers = await asyncio.gather(*(_answers(address) for address, _ in places))
    promising = [place for (_, place), answered in zip(places, answers, strict=True) if answered]
    if not promising:
        raise UnreachableError("nothing answers at any known address")
    request = p2pd_pb2.ConnectRequest(peer=packed, addrs=promising)
    await control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.CONNECT, connect=request))


async def _is_connected(control: DaemonControl, packed: bytes) -> bool:
    """A peer behind a NAT is reached by no address, and yet may have a connection that it has made itself."""
    response = await control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.LIST_PEERS))
    return any(info.id == packed for info in response.peers)


def _usable(peer: PeerId, addresses: Sequence[str]) -> list[tuple[Address, bytes]]:
    """Addresses of that peer, each with the form in which the daemon takes it."""
    found = []
    for text in addresses:
        # Multiaddr knows fewer names than the parser, and says so with errors that are ValueErrors.
        with contextlib.suppress(AddressError, ValueError):
            address = parse_dial_address(text)
            if address.peer == peer:
                found.append((address, packed_address(address.place)))
    return found


async def _answers(address: Address) -> bool:
    """Whether anything takes connections at an address. Of UDP and relays only the daemon can tell."""
    if address.transport != "tcp" or address.relayed:
        return True
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
