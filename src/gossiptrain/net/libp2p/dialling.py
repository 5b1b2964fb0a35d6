"""Dialling other peers through libp2p's daemon.

Owns what is known of where peers live, what the last failure to reach each was, that a stream finds its peer where any
of it leads there, and how often on a peer's own word others are dialled: what a peer says of its addresses may point at
anybody. Does not know what the streams are for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gossiptrain.core.recent import Recent
from gossiptrain.errors import AddressError
from gossiptrain.net.addresses import Address, parse_dial_address
from gossiptrain.net.identity import is_peer_id
from gossiptrain.net.libp2p.daemon_control import TOO_SOON, UNKNOWN_PROTOCOL, DaemonControl
from gossiptrain.net.libp2p.hivemind_names import PeerID, p2pd_pb2
from gossiptrain.net.libp2p.packed_address import packed_address
from gossiptrain.net.transport import Clock, PeerId, UnreachableError
from gossiptrain.net.wire import Wire

MAX_PEERS = 4096
"""Of so many it is remembered where they live."""
MAX_ADDRESSES = 16
"""Of one peer, so many are dialled."""
MAX_DIALS = 32
"""So many peers are dialled at once."""
DIALS_AT_ONCE = 8
"""So often in a row a peer is dialled where it says that it lives, and then once in `DIAL_EVERY_S`."""
DIAL_EVERY_S = 2.0


@dataclass
class _Allowance:
    """Dials that a peer's word is still good for."""

    left: float
    counted_s: float

    def take(self, now_s: float) -> bool:
        self.left = min(DIALS_AT_ONCE, self.left + (now_s - self.counted_s) / DIAL_EVERY_S)
        self.counted_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Libp2pDialler:
    """Has the daemon dial peers and open streams to them."""

    def __init__(self, control: DaemonControl, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._known: Recent[PeerId, tuple[str, ...]] = Recent(MAX_PEERS)
        self._undialled: Recent[PeerId, None] = Recent(MAX_PEERS)
        self._last_failures: Recent[PeerId, str] = Recent(MAX_PEERS)
        self._allowances: Recent[PeerId, _Allowance] = Recent(MAX_PEERS)
        self._dials = asyncio.Semaphore(MAX_DIALS)

    async def connect(self, address: str) -> PeerId:
        """Dials a multiaddr that ends in `/p2p/ID` and proves that this peer lives there. Raises UnreachableError."""
        try:
            parsed = parse_dial_address(address)
        except AddressError as error:
            raise UnreachableError(error.what) from error
        assert parsed.peer is not None  # says parse_dial_address
        await self._dial(parsed.peer, [parsed])
        return parsed.peer

    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Notes where `peer` may be dialled later. Later notes replace earlier ones."""
        self._known[peer] = tuple(addresses[:MAX_ADDRESSES])
        self._undialled[peer] = None

    async def open(self, peer: PeerId, protocol: str) -> tuple[Wire, bytes]:
        """A new stream to `peer`, which is dialled first where needed, and where libp2p reached it, in its bytes.

        Raises UnreachableError.
        """
        if peer in self._undialled:
            # What was noted is newer than what the daemon may know; where it fails, the daemon's own may still do.
            with contextlib.suppress(UnreachableError):
                await self._dial_known(peer)
            self._undialled.pop(peer, None)
        try:
            return await self._open(peer, protocol)
        except UnreachableError as refusal:
            if peer not in self._known or str(refusal) == UNKNOWN_PROTOCOL:
                raise
        await self._dial_known(peer)
        return await self._open(peer, protocol)

    async def _dial_known(self, peer: PeerId) -> None:
        """At all addresses in one go, so that one that says nothing does not use up the time of the others."""
        places = [address for address in _readable(self._known.get(peer, ())) if address.peer == peer]
        if not places:
            raise UnreachableError(f"no address of the peer {peer} is known")
        now_s = self._clock.now()
        if peer not in self._allowances:
            self._allowances[peer] = _Allowance(DIALS_AT_ONCE, now_s)
        if not self._allowances[peer].take(now_s):
            raise UnreachableError(self._last_failures.get(peer, TOO_SOON))
        await self._dial(peer, places)

    async def _dial(self, peer: PeerId, places: Sequence[Address]) -> None:
        try:
            packed = [packed_address(address.place) for address in places]
        except ValueError as error:
            raise UnreachableError("this is not an address that libp2p can read") from error
        request = p2pd_pb2.ConnectRequest(peer=PeerID.from_base58(peer).to_bytes(), addrs=packed)
        try:
            async with self._dials:
                await self._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.CONNECT, connect=request))
        except UnreachableError as error:
            if str(error) == TOO_SOON:
                raise UnreachableError(self._last_failures.get(peer, TOO_SOON)) from error
            self._last_failures[peer] = str(error)
            raise
        self._last_failures.pop(peer, None)

    async def _open(self, peer: PeerId, protocol: str) -> tuple[Wire, bytes]:
        if not is_peer_id(peer):
            raise UnreachableError("this is not the id of a peer")
        request = p2pd_pb2.StreamOpenRequest(peer=PeerID.from_base58(peer).to_bytes(), proto=[protocol])
        wire, response = await self._control.converse(
            p2pd_pb2.Request(type=p2pd_pb2.Request.STREAM_OPEN, streamOpen=request)
        )
        return wire, response.streamInfo.addr


def _readable(addresses: Sequence[str]) -> Iterator[Address]:
    for address in addresses:
        with contextlib.suppress(AddressError):
            yield parse_dial_address(address)
