"""Lanes: direct, mutually authenticated, encrypted connections for bulk bytes between two nodes.

Owns how two nodes come to a lane, and that it is used again. Over a libp2p stream, which is authenticated already, they
tell each other their certificates; the opener then dials the other side or, where that fails, has itself called back,
and both check the other's certificate before the first byte of a stream. After a stream the lane is kept for the next
one to the same peer. Does not know what travels in a lane, nor what is done where none can be had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gossiptrain.net.framing import ProtocolViolationError, opened, receive_message, receive_one_of, send_message
from gossiptrain.net.handlers import HandlerTasks, answer
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
from gossiptrain.net.resting_lanes import RestingLanes
from gossiptrain.net.sealed_wire import SealedWire
from gossiptrain.net.tls import Credentials
from gossiptrain.net.transport import (
    PeerId,
    Stream,
    StreamClosedError,
    StreamHandler,
    Transport,
    UnreachableError,
)

LANE = "/gossiptrain/lane"
LANE_WORTH_BYTES = 64 << 10
"""For fewer bytes than this no lane is dialled; one that is there is used."""
REACH_S = 3.0
"""Longest time from an offer to its lane, whoever dials. Where there is none, enough is left for libp2p."""
ANSWER_S = 1.0
"""A kept lane that does not answer for so long is taken for dead, and another one is dialled."""


class Lanes:
    """The lanes of one node: it takes them, offers them, opens streams over them and serves those of others."""

    def __init__(
        self,
        transport: Transport,
        *,
        handler_of: Callable[[str], StreamHandler | None],
        host_of: Callable[[Stream], IpAddress | None],
    ) -> None:
        """handler_of: who answers the streams of a protocol. host_of: where the other end of a libp2p stream is."""
        self._transport = transport
        self._handler_of = handler_of
        self._host_of = host_of
        self._credentials = Credentials.create()
        self._tasks = HandlerTasks()
        self._streams: dict[Stream, None] = {}
        self._resting = RestingLanes()
        self._door = LaneDoor(self._credentials, self._tasks, transport.clock)
        self._dialler = LaneDialler(self._credentials)
        self._calling_back: set[PeerId] = set()
        """Who could not be dialled the last time, and could dial."""

    async def open_for_others(self, hosts: Sequence[IpAddress], port: int) -> None:
        """Listens at `hosts` and from now on offers lanes to whoever asks, or refuses where there are no hosts.

        port 0: any free one. Raises OSError.
        """
        self._door.listen(hosts, port)
        await self._transport.serve(LANE, self._offer)

    async def open_kept(self, peer: PeerId, protocol: str) -> Stream | None:
        """Opens a stream over a lane that is there; None where none is, or none that still works.

        Raises UnreachableError where `peer` does not serve `protocol`.
        """
        lane = self._resting.take(peer)
        if lane is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._begin(lane, protocol)
        except UnreachableError:
            raise
        except (ConnectionError, TimeoutError):
            self._resting.end_all(peer)  # whatever has broken this one has as a rule broken all
            return None

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream over a new lane. Raises NoLaneError; UnreachableError where `peer` is not there."""
        lane = await self._agree(peer)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                return await self._begin(lane, protocol)
        except UnreachableError:
            raise
        except (ConnectionError, TimeoutError) as error:
            raise NoLaneError(f"the other side did not take the lane: {str(error) or 'no answer in time'}") from error

    async def close(self) -> None:
        """Ends all lanes and takes no more."""
        self._door.close()
        self._resting.close()
        for stream in tuple(self._streams):
            stream.abort()
        await self._tasks.close()

    # Where this node opens.

    async def _begin(self, lane: Lane, protocol: str) -> Stream:
        try:
            stream = await lane.begin(protocol, self._streams, on_close=lambda: self._resting.keep(lane))
        except BaseException:
            lane.end()
            raise
        if stream is None:
            self._resting.keep(lane)
            raise UnreachableError(f"the peer {lane.peer} does not speak {protocol}")
        return stream

    async def _agree(self, peer: PeerId) -> Lane:
        try:
            async with opened(self._transport, peer, protocol=LANE) as stream:
                await send_message(stream, LaneRequest(certificate=self._credentials.certificate.hex()))
                offer = await receive_one_of(stream, LaneOffer, LaneRefusal)
                if not isinstance(offer, LaneOffer):
                    raise NoLaneError("the other side offers none")
                async with asyncio.timeout(REACH_S):
                    return Lane(peer, await self._reach(peer, offer, stream), opens=True)
        except TimeoutError as error:
            raise NoLaneError("none could be made in time") from error
        except (StreamClosedError, ProtocolViolationError) as error:
            raise UnreachableError(str(error)) from error

    async def _reach(self, peer: PeerId, offer: LaneOffer, stream: Stream) -> SealedWire:
        """Dials; where that leads nowhere, has itself called back, from then on at once."""
        failure = "it had to be had the other way round"
        if peer not in self._calling_back:
            try:
                return await self._dialler.dial_offer(peer, offer)
            except NoLaneError as error:
                failure = str(error)
        called = await self._be_called(offer, stream)
        if called is None:
            self._calling_back.discard(peer)
            raise NoLaneError(f"{failure}; and the other side could not dial either")
        self._calling_back.add(peer)
        return called

    async def _be_called(self, offer: LaneOffer, stream: Stream) -> SealedWire | None:
        """Has the other side dial, where this one could not: a wall with a door often opens from one side only."""
        arrival: asyncio.Future[SealedWire] = asyncio.get_running_loop().create_future()

        def welcome(wire: SealedWire) -> None:
            if arrival.done():
                wire.end()
            else:
                arrival.set_result(wire)

        ports = self._door.ports
        called = None
        self._door.expect(offer.token, Guest(bytes.fromhex(offer.certificate), welcome))
        try:
            await send_message(stream, CallBack(port_ip4=ports.get(4, 0), port_ip6=ports.get(6, 0)))
            reply = await receive_one_of(stream, CalledBack, LaneRefusal)
            if isinstance(reply, CalledBack):
                called = await arrival
            return called
        finally:
            self._door.forget(offer.token)
            if called is None and arrival.done() and not arrival.cancelled():
                arrival.result().end()  # it came too late
            arrival.cancel()

    # Where others open.

    async def _offer(self, stream: Stream) -> None:
        async with asyncio.timeout(HANDSHAKE_S):
            request = await receive_message(stream, LaneRequest)
            if not self._door.ports:
                await send_message(stream, LaneRefusal())
                return
            offer = LaneOffer(
                certificate=self._credentials.certificate.hex(),
                token=new_token(),
                places=self._door.places(self._transport.addresses),
            )
            certificate = bytes.fromhex(request.certificate)
            self._door.expect(offer.token, Guest(certificate, lambda wire: self._serve_on(stream.remote, wire)))
            await send_message(stream, offer)
        async with asyncio.timeout(TOKEN_S):
            call = await receive_message(stream, CallBack)  # as a rule the lane is there, and the stream ends instead
            self._door.forget(offer.token)
            is_called = await self._call_back(stream, call, Ticket(bytes.fromhex(offer.token), certificate))
            await send_message(stream, CalledBack() if is_called else LaneRefusal())

    async def _call_back(self, stream: Stream, call: CallBack, ticket: Ticket) -> bool:
        """Dials the opener, but nowhere else: only where its libp2p is connected from, whatever it says."""
        host = self._host_of(stream)
        if host is None:
            return False
        port = call.port_ip4 if host.version == 4 else call.port_ip6
        try:
            wire = await self._dialler.dial(stream.remote, [(host, port)] if port else [], ticket)
        except NoLaneError:
            return False
        self._serve_on(stream.remote, wire)
        return True

    def _serve_on(self, peer: PeerId, wire: SealedWire) -> None:
        lane = Lane(peer, wire, opens=False)
        self._tasks.start(self._serve(lane), name="handler of a lane", release=lambda: self._leave(lane))

    async def _serve(self, lane: Lane) -> None:
        """Answers the streams on a lane, one after the other, until either side ends it."""
        while True:
            self._resting.keep(lane)
            protocol = await lane.requested()
            self._resting.release(lane)
            handler = self._handler_of(protocol)
            if handler is None:
                await lane.refuse()
            else:
                await answer(handler, await lane.accept(self._streams))

    def _leave(self, lane: Lane) -> None:
        self._resting.release(lane)
        lane.end()
