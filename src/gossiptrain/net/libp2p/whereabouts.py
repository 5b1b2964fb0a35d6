"""Where a relay sees the two ends of a stream that it carries.

Owns the question and the answer. A peer behind a router does not know its own address, let alone one of the other
peer's; the relay does, since both are connected to it. Only those relays are asked that this peer's user has named: so
nobody else can send it anywhere. Does not know what the answer is for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from gossiptrain.net.addresses import Address, readable_addresses
from gossiptrain.net.direct.messages import SeenAt, WhereIs
from gossiptrain.net.direct.negotiation import Places
from gossiptrain.net.framing import ProtocolViolationError, call, receive_message, send_message
from gossiptrain.net.libp2p.daemon_control import DaemonControl
from gossiptrain.net.libp2p.hivemind_names import PeerID, p2pd_pb2
from gossiptrain.net.libp2p.packed_address import readable_texts
from gossiptrain.net.libp2p.stream import place_of
from gossiptrain.net.transport import PeerId, Stream, Transport, UnreachableError

WHEREABOUTS = "/gossiptrain/whereabouts"
QUESTION_S = 10.0
"""Longest wait for the whole question, once a stream is there for it."""


class Whereabouts:
    """Asks relays, and answers as one."""

    def __init__(self, transport: Transport, control: DaemonControl, *, trusted: Collection[PeerId]) -> None:
        """trusted: relays that may be asked."""
        self._transport = transport
        self._control = control
        self._trusted = trusted

    async def serve(self) -> None:
        """From now on tells everybody who is connected where others are that are connected, too."""
        await self._transport.serve(WHEREABOUTS, self._answer)

    async def of(self, stream: Stream) -> Places | None:
        """None where the stream passes no relay that is trusted, or the relay does not know. Raises UnreachableError,
        StreamClosedError, ProtocolViolationError."""
        relay = _relay_of(stream)
        if relay is None or relay not in self._trusted:
            return None
        own, other = [await self._ask(relay, peer) for peer in (self._transport.peer_id, stream.remote)]
        if not own.host or not other.host:
            return None
        try:
            host = ipaddress.ip_address(other.host)
        except ValueError:
            raise ProtocolViolationError("a relay has named an address that is none") from None
        used = {address.port for address in readable_addresses(self._transport.addresses) if not address.relayed}
        return Places(host, other.port, keeps_ports=own.port in used)

    async def own(self, relay: PeerId) -> SeenAt | None:
        """Where the relay sees this peer; None where it does not know. Raises as `of` does."""
        seen = await self._ask(relay, self._transport.peer_id)
        return seen if seen.host else None

    async def _ask(self, relay: PeerId, peer: PeerId) -> SeenAt:
        return await call(self._transport, relay, protocol=WHEREABOUTS, request=WhereIs(peer=peer), reply_kind=SeenAt)

    async def _answer(self, stream: Stream) -> None:
        async with self._transport.clock.timeout(QUESTION_S):
            asked = await receive_message(stream, WhereIs)
        await send_message(stream, await self._seen(asked.peer))

    async def _seen(self, peer: str) -> SeenAt:
        try:
            packed = PeerID.from_base58(peer).to_bytes()
            response = await self._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.LIST_PEERS))
        except (ValueError, UnreachableError):
            return SeenAt(host="", port=0)
        places = readable_texts(place for info in response.peers if info.id == packed for place in info.addrs)
        for address in readable_addresses(places):
            if address.ip is not None and not address.relayed and address.transport == "tcp":
                return SeenAt(host=str(address.ip), port=address.port)
        return SeenAt(host="", port=0)


def _relay_of(stream: Stream) -> PeerId | None:
    """Which peer carries a stream; None where it comes straight from the other side."""
    before, circuit, _ = place_of(stream).partition("/p2p-circuit")
    relay: Address | None = next(readable_addresses([before]), None)
    return relay.peer if circuit and relay is not None else None
