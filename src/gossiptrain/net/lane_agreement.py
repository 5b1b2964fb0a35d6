"""How two nodes come to a lane.

Owns what is said and done between them. Over a libp2p stream, which is authenticated already, they tell each other
their certificates; the opener then dials the other side or, where that leads nowhere, has itself called back. Either
side is dialled where libp2p is connected to it and nowhere else, whatever it says, and both check the other's
certificate before the first byte of a stream. Does not know what lanes are used for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gossiptrain.core.recent import Recent
from gossiptrain.net.framing import receive_message, receive_one_of, send_message
from gossiptrain.net.handlers import HandlerTasks
from gossiptrain.net.lane import Lane
from gossiptrain.net.lane_dialling import LaneDialler, Ticket
from gossiptrain.net.lane_door import HANDSHAKE_S, TOKEN_S, Guest, LaneDoor
from gossiptrain.net.lane_words import (
    CallBack,
    CalledBack,
    LaneOffer,
    LaneRefusal,
    LaneRequest,
    NoLaneError,
    new_token,
)
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.sealed_wire import SealedWire
from gossiptrain.net.tls import Credentials
from gossiptrain.net.transport import PeerId, Stream, Transport

REACH_S = 3.0
"""Longest time from an offer to its lane, whoever dials. Where there is none, enough is left for libp2p."""
MAX_PEERS = 1024
"""Of so many it is remembered who has to dial."""


class LaneAgreement:
    """Comes to lanes with other nodes: those on which this node opens streams, and those on which others do."""

    def __init__(
        self,
        transport: Transport,
        tasks: HandlerTasks,
        *,
        host_of: Callable[[Stream], IpAddress | None],
        on_lane: Callable[[Lane], None],
    ) -> None:
        """host_of: where the other end of a libp2p stream is. on_lane: takes the lanes on which others open."""
        self._transport = transport
        self._host_of = host_of
        self._on_lane = on_lane
        self._credentials = Credentials.create()
        self._door = LaneDoor(self._credentials, tasks, transport.clock)
        self._dialler = LaneDialler(self._credentials)
        self._calling_back: Recent[PeerId, None] = Recent(MAX_PEERS)
        """Who could not be dialled the last time, and could dial."""

    def listen(self, hosts: Sequence[IpAddress], port: int) -> None:
        """Takes lanes at `hosts` from now on; where there are none, this node refuses all. Raises OSError."""
        self._door.listen(hosts, port)

    def close(self) -> None:
        """Takes no more lanes. May be called twice."""
        self._door.close()

    # Where this node asks.

    async def agree(self, stream: Stream) -> Lane:
        """A new lane to the other end of `stream`, on which this node opens streams.

        Raises NoLaneError; StreamClosedError and ProtocolViolationError where the other side says nothing of use.
        """
        await send_message(stream, LaneRequest(certificate=self._credentials.certificate.hex()))
        offer = await receive_one_of(stream, LaneOffer, LaneRefusal)
        if not isinstance(offer, LaneOffer):
            raise NoLaneError("the other side offers none")
        try:
            async with asyncio.timeout(REACH_S):
                return Lane(stream.remote, await self._reach(offer, stream), opens=True)
        except TimeoutError as error:
            raise NoLaneError("none could be made in time") from error

    async def _reach(self, offer: LaneOffer, stream: Stream) -> SealedWire:
        """Dials; where that leads nowhere, has itself called back, from then on at once."""
        peer = stream.remote
        failure = "it had to be had the other way round"
        if peer not in self._calling_back:
            try:
                return await self._dial(stream, offer, Ticket(bytes.fromhex(offer.token), _certificate(offer)))
            except NoLaneError as error:
                failure = str(error)
        called = await self._be_called(offer, stream)
        if called is None:
            self._calling_back.pop(peer, None)
            raise NoLaneError(f"{failure}; and the other side could not dial either")
        self._calling_back[peer] = None
        return called

    async def _dial(self, stream: Stream, words: LaneOffer | CallBack, ticket: Ticket) -> SealedWire:
        """Dials the other end of `stream`. Raises NoLaneError."""
        host = self._host_of(stream)
        if host is None:
            raise NoLaneError("libp2p is not connected to it directly")
        port = words.port_ip4 if host.version == 4 else words.port_ip6
        if not port:
            raise NoLaneError("the other side has no port for it")
        return await self._dialler.dial(host, port, ticket)

    async def _be_called(self, offer: LaneOffer, stream: Stream) -> SealedWire | None:
        """Has the other side dial, where this one could not: a wall with a door often opens from one side only."""
        arrival: asyncio.Future[SealedWire] = asyncio.get_running_loop().create_future()

        def welcome(wire: SealedWire) -> None:
            if arrival.done():
                wire.end()
            else:
                arrival.set_result(wire)

        called = None
        self._door.expect(offer.token, Guest(_certificate(offer), welcome))
        try:
            await send_message(
                stream, CallBack(port_ip4=self._door.ports.get(4, 0), port_ip6=self._door.ports.get(6, 0))
            )
            reply = await receive_one_of(stream, CalledBack, LaneRefusal)
            if isinstance(reply, CalledBack):
                called = await arrival
            return called
        finally:
            self._door.forget(offer.token)
            if called is None and arrival.done() and not arrival.cancelled():
                arrival.result().end()  # it came too late
            arrival.cancel()

    # Where others ask.

    async def offer(self, stream: Stream) -> None:
        """Answers the other end of `stream`, which asks for a lane on which it opens streams."""
        async with asyncio.timeout(HANDSHAKE_S):
            request = await receive_message(stream, LaneRequest)
            if not self._door.ports:
                await send_message(stream, LaneRefusal())
                return
            offer = LaneOffer(
                certificate=self._credentials.certificate.hex(),
                token=new_token(),
                port_ip4=self._door.port(4),
                port_ip6=self._door.port(6),
            )
            certificate = _certificate(request)
            self._door.expect(offer.token, Guest(certificate, lambda wire: self._take(stream.remote, wire)))
            await send_message(stream, offer)
        async with asyncio.timeout(TOKEN_S):
            call = await receive_message(stream, CallBack)  # as a rule the lane is there, and the stream ends instead
            self._door.forget(offer.token)
            is_called = await self._call_back(stream, call, Ticket(bytes.fromhex(offer.token), certificate))
            await send_message(stream, CalledBack() if is_called else LaneRefusal())

    async def _call_back(self, stream: Stream, call: CallBack, ticket: Ticket) -> bool:
        try:
            wire = await self._dial(stream, call, ticket)
        except NoLaneError:
            return False
        self._take(stream.remote, wire)
        return True

    def _take(self, peer: PeerId, wire: SealedWire) -> None:
        self._on_lane(Lane(peer, wire, opens=False))


def _certificate(words: LaneRequest | LaneOffer) -> bytes:
    return bytes.fromhex(words.certificate)
