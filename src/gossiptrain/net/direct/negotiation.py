"""How two nodes agree on a direct connection.

Owns what is said and done between them. Over a libp2p stream, which is authenticated already, they tell each other
their certificates; the opener then dials the other side or, where that leads nowhere, has itself called back. Either
side is dialled where libp2p is connected to it and nowhere else, whatever it says; where that is only through a relay,
both call each other at once, at the places where the relay sees them. Both check the other's certificate before the
first byte of a stream. Does not know what connections are used for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gossiptrain.core.recent import Recent
from gossiptrain.net.direct.acceptor import HANDSHAKE_S, TOKEN_S, Acceptor, ExpectedPeer
from gossiptrain.net.direct.connection import DirectConnection
from gossiptrain.net.direct.dialling import DialCredentials, DirectDialler
from gossiptrain.net.direct.messages import (
    CallBack,
    CalledBack,
    DirectOffer,
    DirectRefusal,
    DirectRequest,
    NoDirectConnectionError,
    Punch,
    new_token,
)
from gossiptrain.net.direct.punching import Hole
from gossiptrain.net.direct.sealed_wire import SealedWire
from gossiptrain.net.direct.tls import Credentials
from gossiptrain.net.framing import receive_message, receive_one_of, send_message
from gossiptrain.net.handlers import HandlerTasks
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import PeerId, Stream, Transport, UnreachableError
from gossiptrain.net.wire import Wire

REACH_S = 3.0
"""Longest time from an offer to its connection, whichever side dials. Where there is none, enough is left for
libp2p."""
MAX_PEERS = 1024
"""Of so many it is remembered who has to dial."""


@dataclass(frozen=True)
class Places:
    """host, port: where the other end of a stream is, as the outside sees it; the port is that of its libp2p daemon.

    keeps_ports: whether this side's router shows others the ports that its programs use.
    """

    host: IpAddress
    port: int
    keeps_ports: bool


@dataclass(frozen=True)
class Sight:
    """host_of: where the other end of a libp2p stream is; None: through a relay. places_of: what the relay sees then;
    None where it cannot say, or is not one to be believed."""

    host_of: Callable[[Stream], IpAddress | None]
    places_of: Callable[[Stream], Awaitable[Places | None]]


class Negotiation:
    """Negotiates direct connections: those on which this node opens streams, and those on which others do."""

    def __init__(
        self,
        transport: Transport,
        tasks: HandlerTasks,
        *,
        sight: Sight,
        on_direct: Callable[[DirectConnection], None],
    ) -> None:
        """on_direct: takes the connections on which others open."""
        self._transport = transport
        self._sight = sight
        self._on_direct = on_direct
        self._credentials = Credentials.create()
        self._acceptor = Acceptor(self._credentials, tasks, transport.clock)
        self._dialler = DirectDialler(self._credentials)
        self._calling_back: Recent[PeerId, None] = Recent(MAX_PEERS)
        """Who could not be dialled the last time, and could dial."""

    def listen(self, hosts: Sequence[IpAddress], port: int) -> None:
        """Takes connections at `hosts` from now on; where there are none, this node refuses all. Raises OSError."""
        self._acceptor.listen(hosts, port)

    def close(self) -> None:
        """Takes no more connections. May be called twice."""
        self._acceptor.close()

    # Where this node asks.

    async def negotiate(self, stream: Stream) -> DirectConnection:
        """A new connection to the other end of `stream`, on which this node opens streams.

        Raises NoDirectConnectionError; StreamClosedError and ProtocolViolationError where the other side says nothing
        of use.
        """
        await send_message(stream, DirectRequest(certificate=self._credentials.certificate.hex()))
        offer = await receive_one_of(stream, DirectOffer, DirectRefusal)
        if not isinstance(offer, DirectOffer):
            raise NoDirectConnectionError("the other side offers none")
        try:
            async with asyncio.timeout(REACH_S):
                return DirectConnection(stream.remote, await self._reach(offer, stream), opens=True)
        except TimeoutError as error:
            raise NoDirectConnectionError("none could be made in time") from error

    async def is_called_back(self, stream: Stream) -> bool | None:
        """Whether the other end of `stream` can dial this node, which it is asked to do; None where it never dials.

        Raises StreamClosedError, ProtocolViolationError, TimeoutError.
        """
        await send_message(stream, DirectRequest(certificate=self._credentials.certificate.hex()))
        offer = await receive_one_of(stream, DirectOffer, DirectRefusal)
        if not isinstance(offer, DirectOffer):
            return None
        async with asyncio.timeout(REACH_S):
            called = await self._be_called(offer, stream)
        if called is not None:
            called.end()
        return called is not None

    async def _reach(self, offer: DirectOffer, stream: Stream) -> SealedWire:
        """Dials; where that leads nowhere, has itself called back, from then on at once."""
        peer = stream.remote
        if self._sight.host_of(stream) is None:
            return await self._punch(offer, stream)
        failure = "it had to be had the other way round"
        if peer not in self._calling_back:
            try:
                return await self._dial(stream, offer, DialCredentials(bytes.fromhex(offer.token), _certificate(offer)))
            except NoDirectConnectionError as error:
                failure = str(error)
        called = await self._be_called(offer, stream)
        if called is None:
            self._calling_back.pop(peer, None)
            raise NoDirectConnectionError(f"{failure}; and the other side could not dial either")
        self._calling_back[peer] = None
        return called

    async def _dial(
        self, stream: Stream, words: DirectOffer | CallBack, dial_credentials: DialCredentials
    ) -> SealedWire:
        """Dials the other end of `stream`. Raises NoDirectConnectionError."""
        host = self._sight.host_of(stream)
        if host is None:
            raise NoDirectConnectionError("libp2p is not connected to it directly")
        port = words.port_ip4 if host.version == 4 else words.port_ip6
        if not port:
            raise NoDirectConnectionError("the other side has no port for it")
        return await self._dialler.dial(host, port, dial_credentials)

    async def _punch(self, offer: DirectOffer, stream: Stream) -> SealedWire:
        """Calls the other side while it calls this one. Raises NoDirectConnectionError."""
        places = await self._places_of(stream)
        try:
            with Hole(places.host.version) as hole:
                await send_message(stream, Punch(port=hole.port if places.keeps_ports else 0))
                reply = await receive_one_of(stream, Punch, DirectRefusal)
                if not isinstance(reply, Punch):
                    raise NoDirectConnectionError("the other side sees no way through both routers")
                connection = await hole.opened(places.host, reply.port or places.port)
            credentials = DialCredentials(bytes.fromhex(offer.token), _certificate(offer))
            return await self._dialler.enter(Wire(connection), credentials)
        except OSError as error:
            raise NoDirectConnectionError(f"no way through both routers: {error}") from error

    async def _places_of(self, stream: Stream) -> Places:
        try:
            places = await self._sight.places_of(stream)
        except UnreachableError as error:
            raise NoDirectConnectionError("the relay does not say where the other side is") from error
        if places is None:
            raise NoDirectConnectionError("libp2p is not connected to it directly")
        return places

    async def _be_called(self, offer: DirectOffer, stream: Stream) -> SealedWire | None:
        """Has the other side dial, where this one could not: a firewall is often open in one direction only."""
        arrival: asyncio.Future[SealedWire] = asyncio.get_running_loop().create_future()

        def on_accept(wire: SealedWire) -> None:
            if arrival.done():
                wire.end()
            else:
                arrival.set_result(wire)

        called = None
        self._acceptor.expect(offer.token, ExpectedPeer(_certificate(offer), on_accept))
        try:
            await send_message(
                stream, CallBack(port_ip4=self._acceptor.ports.get(4, 0), port_ip6=self._acceptor.ports.get(6, 0))
            )
            reply = await receive_one_of(stream, CalledBack, DirectRefusal)
            if isinstance(reply, CalledBack):
                called = await arrival
            return called
        finally:
            self._acceptor.forget(offer.token)
            if called is None and arrival.done() and not arrival.cancelled():
                arrival.result().end()  # it came too late
            arrival.cancel()

    # Where others ask.

    async def offer(self, stream: Stream) -> None:
        """Answers the other end of `stream`, which asks for a connection on which it opens streams."""
        async with asyncio.timeout(HANDSHAKE_S):
            request = await receive_message(stream, DirectRequest)
            if not self._acceptor.ports:
                await send_message(stream, DirectRefusal())
                return
            offer = DirectOffer(
                certificate=self._credentials.certificate.hex(),
                token=new_token(),
                port_ip4=self._acceptor.port(4),
                port_ip6=self._acceptor.port(6),
            )
            certificate = _certificate(request)
            self._acceptor.expect(offer.token, ExpectedPeer(certificate, lambda wire: self._take(stream.remote, wire)))
            await send_message(stream, offer)
        async with asyncio.timeout(TOKEN_S):
            # As a rule the connection is there, and the stream ends instead.
            call = await receive_one_of(stream, CallBack, Punch)
            if isinstance(call, Punch):
                await self._punch_back(stream, call)
                return
            assert isinstance(call, CallBack)  # says receive_one_of
            self._acceptor.forget(offer.token)
            is_called = await self._call_back(stream, call, DialCredentials(bytes.fromhex(offer.token), certificate))
            await send_message(stream, CalledBack() if is_called else DirectRefusal())

    async def _punch_back(self, stream: Stream, call: Punch) -> None:
        """Calls while the other side calls; the token tells whether it is the other side that has come through."""
        try:
            places = await self._places_of(stream)
            if not call.port and not places.keeps_ports:
                raise NoDirectConnectionError("neither side knows the port that its router shows")
        except NoDirectConnectionError:
            await send_message(stream, DirectRefusal())
            return
        with contextlib.suppress(OSError), Hole(places.host.version) as hole:
            await send_message(stream, Punch(port=hole.port if places.keeps_ports else 0))
            self._acceptor.admit(await hole.opened(places.host, call.port or places.port))

    async def _call_back(self, stream: Stream, call: CallBack, dial_credentials: DialCredentials) -> bool:
        try:
            wire = await self._dial(stream, call, dial_credentials)
        except NoDirectConnectionError:
            return False
        self._take(stream.remote, wire)
        return True

    def _take(self, peer: PeerId, wire: SealedWire) -> None:
        self._on_direct(DirectConnection(peer, wire, opens=False))


def _certificate(words: DirectRequest | DirectOffer) -> bytes:
    return bytes.fromhex(words.certificate)
