"""Dialling other peers through libp2p's daemon.

Owns what is known of where peers live, what the last failure at an address was, and that a stream finds its peer where
any of it leads there. Does not know what the streams are for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from gossiptrain.errors import AddressError
from gossiptrain.net.addresses import parse_dial_address
from gossiptrain.net.daemon_control import DaemonControl
from gossiptrain.net.daemon_words import TOO_SOON, UNKNOWN_PROTOCOL
from gossiptrain.net.hivemind_names import Multiaddr, PeerID, p2pd_pb2
from gossiptrain.net.identity import is_peer_id
from gossiptrain.net.transport import PeerId, UnreachableError
from gossiptrain.net.wire import Wire


class Libp2pDialler:
    """Has the daemon dial peers and open streams to them."""

    def __init__(self, control: DaemonControl) -> None:
        self._control = control
        self._known: dict[PeerId, tuple[str, ...]] = {}
        self._undialled: set[PeerId] = set()
        self._last_failures: dict[str, str] = {}

    async def connect(self, address: str) -> PeerId:
        """Dials a multiaddr that ends in `/p2p/ID` and proves that this peer lives there. Raises UnreachableError."""
        try:
            parsed = parse_dial_address(address)
        except AddressError as error:
            raise UnreachableError(error.what) from error
        assert parsed.peer is not None  # says parse_dial_address
        place = address.rstrip("/").rpartition("/p2p/")[0]
        try:
            await self._dial(parsed.peer, place)
        except UnreachableError as error:
            if str(error) == TOO_SOON:
                raise UnreachableError(self._last_failures.get(address, TOO_SOON)) from error
            self._last_failures[address] = str(error)
            raise
        self._last_failures.pop(address, None)
        return parsed.peer

    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Notes where `peer` may be dialled later. Later notes replace earlier ones."""
        self._known[peer] = tuple(addresses)
        self._undialled.add(peer)

    async def open(self, peer: PeerId, protocol: str) -> Wire:
        """The wire of a new stream to `peer`, which is dialled first where needed. Raises UnreachableError."""
        if peer in self._undialled:
            # What was noted is newer than what the daemon may know; where it fails, the daemon's own may still do.
            with contextlib.suppress(UnreachableError):
                await self._dial_known(peer)
            self._undialled.discard(peer)
        try:
            return await self._open(peer, protocol)
        except UnreachableError as refusal:
            if peer not in self._known or str(refusal) == UNKNOWN_PROTOCOL:
                raise
        await self._dial_known(peer)
        return await self._open(peer, protocol)

    async def _dial_known(self, peer: PeerId) -> None:
        failures = []
        for address in self._known[peer]:
            try:
                await self.connect(address)
                return
            except UnreachableError as error:
                failures.append(str(error))
        raise UnreachableError("; ".join(failures) or f"no address of the peer {peer} is known")

    async def _dial(self, peer: PeerId, place: str) -> None:
        request = p2pd_pb2.ConnectRequest(peer=PeerID.from_base58(peer).to_bytes(), addrs=[Multiaddr(place).to_bytes()])
        await self._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.CONNECT, connect=request))

    async def _open(self, peer: PeerId, protocol: str) -> Wire:
        if not is_peer_id(peer):
            raise UnreachableError("this is not the id of a peer")
        request = p2pd_pb2.StreamOpenRequest(peer=PeerID.from_base58(peer).to_bytes(), proto=[protocol])
        wire, _ = await self._control.converse(p2pd_pb2.Request(type=p2pd_pb2.Request.STREAM_OPEN, streamOpen=request))
        return wire
