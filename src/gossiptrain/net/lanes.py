"""Lanes: direct, mutually authenticated, encrypted connections for bulk bytes between two nodes.

Owns how two nodes agree on a lane. Over a libp2p stream, which is authenticated already, they tell each other their
certificates; the opener then dials the address and shows the token that it was given, each good for one connection,
and both check the other's certificate before the first byte of a stream. Does not know what travels in a lane, nor
what is done where none can be had.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import Field, StringConstraints

from gossiptrain.net.addresses import readable_addresses
from gossiptrain.net.framing import (
    Message,
    ProtocolViolationError,
    opened,
    receive_message,
    receive_one_of,
    send_message,
)
from gossiptrain.net.handlers import HandlerTasks, answer
from gossiptrain.net.lane_stream import LaneStream, shake_hands
from gossiptrain.net.listener import StreamListener, listening_tcp_socket
from gossiptrain.net.tls import MAX_CERTIFICATE_BYTES, Credentials, Engine
from gossiptrain.net.transport import (
    PeerId,
    Stream,
    StreamClosedError,
    StreamHandler,
    Transport,
    UnreachableError,
)
from gossiptrain.net.wire import Wire

LANE = "/gossiptrain/lane"
OFFER_S = 10.0
"""An offer that is not taken up for so long is void."""
DIAL_S = 1.0
"""Longest wait for one address; a node has several, and some of them lead nowhere."""
HANDSHAKE_S = 3.0
LANE_WORTH_BYTES = 1 << 20
"""A lane for fewer bytes than this takes longer than libp2p's daemons do: it costs two handshakes, some 5 ms."""
MAX_PLACES = 8
MAX_OFFERS = 1024
MAX_ARRIVING = 64
"""Connections that have not shown a token yet, at most."""
_TOKEN_BYTES = 32

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
CertificateText = Annotated[str, StringConstraints(max_length=2 * MAX_CERTIFICATE_BYTES, pattern=r"^([0-9a-f]{2})+$")]


class LaneRequest(Message):
    """The opener asks for a lane for one stream of `protocol`, and says by which certificate it will be known."""

    protocol: Annotated[str, StringConstraints(max_length=128)]
    certificate: CertificateText


class LaneOffer(Message):
    """Where the lane can be dialled, with which token, and which certificate will answer."""

    certificate: CertificateText
    token: Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{2 * _TOKEN_BYTES}}}$")]
    places: Annotated[tuple[Annotated[str, StringConstraints(max_length=256)], ...], Field(max_length=MAX_PLACES)]


class LaneRefusal(Message):
    """There is no lane to this node."""


class NoLaneError(ConnectionError):
    """No lane could be had, though the peer may well be there."""


@dataclass(frozen=True)
class _Offer:
    peer: PeerId
    certificate: bytes
    protocol: str
    until_s: float


class Lanes:
    """The lanes of one node: it listens for them, offers them and opens them."""

    def __init__(self, transport: Transport, *, handler_of: Callable[[str], StreamHandler | None]) -> None:
        """handler_of: who answers the streams of a protocol."""
        self._transport = transport
        self._handler_of = handler_of
        self._credentials = Credentials.create()
        self._tasks = HandlerTasks()
        self._streams: dict[Stream, None] = {}
        self._listeners: list[StreamListener] = []
        self._ports: dict[int, int] = {}
        self._offers: dict[str, _Offer] = {}
        self._arriving = 0
        self._reached_at: dict[PeerId, IpAddress] = {}

    async def open_for_others(self, hosts: Sequence[IpAddress], port: int) -> None:
        """Listens at `hosts` and from now on offers lanes to whoever asks, or refuses where there are no hosts.

        port 0: any free one. Raises OSError.
        """
        for host in dict.fromkeys(hosts):
            listening = listening_tcp_socket(host, self._ports.get(host.version, port))
            self._ports[host.version] = listening.getsockname()[1]
            self._listeners.append(StreamListener(listening, on_connection=self._accept))
        await self._transport.serve(LANE, self._offer)

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream over a lane of its own. Raises NoLaneError; UnreachableError where `peer` is not there."""
        request = LaneRequest(protocol=protocol, certificate=self._credentials.certificate.hex())
        try:
            async with opened(self._transport, peer, protocol=LANE) as stream:
                await send_message(stream, request)
                reply = await receive_one_of(stream, LaneOffer, LaneRefusal)
        except (StreamClosedError, ProtocolViolationError) as error:
            raise UnreachableError(str(error)) from error
        if not isinstance(reply, LaneOffer):
            raise NoLaneError("the other side offers none")
        return await self._dial(peer, reply)

    async def close(self) -> None:
        """Ends all lanes and takes no more."""
        for listener in self._listeners:
            listener.close()
        for stream in tuple(self._streams):
            stream.abort()
        await self._tasks.close()

    # Where this node opens.

    async def _dial(self, peer: PeerId, offer: LaneOffer) -> Stream:
        failures = []
        for host, port in self._ordered(peer, offer.places):
            try:
                wire = await self._connect(host, port)
                stream = await self._enter(wire, peer, offer)
            except (OSError, TimeoutError) as error:
                failures.append(f"{host}: {error or 'no answer in time'}")
                continue
            self._reached_at[peer] = host
            return stream
        self._reached_at.pop(peer, None)
        raise NoLaneError("; ".join(failures) or "the other side has no address for it")

    def _ordered(self, peer: PeerId, places: Sequence[str]) -> list[tuple[IpAddress, int]]:
        """Where to try, the likeliest first: where it worked before, then the nearest."""
        found = []
        for address in readable_addresses(places):
            ip = address.ip
            if ip is not None and address.transport == "tcp" and not (ip.is_unspecified or ip.is_multicast):
                found.append((ip, address.port))
        known = self._reached_at.get(peer)
        return sorted(found, key=lambda place: (place[0] != known, not place[0].is_loopback, place[0].is_global))

    async def _connect(self, host: IpAddress, port: int) -> Wire:
        family = socket.AF_INET if host.version == 4 else socket.AF_INET6
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(DIAL_S):
                await asyncio.get_running_loop().sock_connect(connection, (str(host), port))
        except BaseException:
            connection.close()
            raise
        return Wire(connection)

    async def _enter(self, wire: Wire, peer: PeerId, offer: LaneOffer) -> Stream:
        try:
            engine = Engine(self._credentials, expected=bytes.fromhex(offer.certificate), server=False)
            async with asyncio.timeout(HANDSHAKE_S):
                await wire.send(bytes.fromhex(offer.token))
                await shake_hands(wire, engine)
        except BaseException:
            wire.end()
            raise
        return LaneStream(peer, self._streams, wire=wire, engine=engine)

    # Where others open.

    async def _offer(self, stream: Stream) -> None:
        async with asyncio.timeout(HANDSHAKE_S):
            request = await receive_message(stream, LaneRequest)
            places = self._places()
            if not places or self._handler_of(request.protocol) is None:
                await send_message(stream, LaneRefusal())
                return
            token = secrets.token_hex(_TOKEN_BYTES)
            until_s = self._transport.clock.now() + OFFER_S
            self._forget_void_offers()
            self._offers[token] = _Offer(stream.remote, bytes.fromhex(request.certificate), request.protocol, until_s)
            await send_message(
                stream, LaneOffer(certificate=self._credentials.certificate.hex(), token=token, places=places)
            )

    def _places(self) -> tuple[str, ...]:
        """The addresses at which libp2p is reached, each with the lanes' port."""
        ips = dict.fromkeys(address.ip for address in readable_addresses(self._transport.addresses))
        places = [
            f"/ip{ip.version}/{ip}/tcp/{self._ports[ip.version]}"
            for ip in ips
            if ip is not None and ip.version in self._ports
        ]
        return tuple(places[:MAX_PLACES])

    def _forget_void_offers(self) -> None:
        now_s = self._transport.clock.now()
        void = [token for token, offer in self._offers.items() if offer.until_s < now_s]
        for token in (*void, *list(self._offers)[: max(0, len(self._offers) - MAX_OFFERS)]):
            self._offers.pop(token, None)

    def _accept(self, connection: socket.socket) -> None:
        if self._arriving >= MAX_ARRIVING:
            connection.close()
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tasks.start(self._admit(connection), name="handler of a lane", release=connection.close)

    async def _admit(self, connection: socket.socket) -> None:
        wire = Wire(connection)
        try:
            admitted = await self._check(wire)
            if admitted is None:
                return
            offer, stream = admitted
            handler = self._handler_of(offer.protocol)
            if handler is not None:
                await answer(handler, stream)
        finally:
            wire.end()

    async def _check(self, wire: Wire) -> tuple[_Offer, LaneStream] | None:
        """Nobody gets further without a token that is awaited and the certificate that was announced with it."""
        self._arriving += 1
        try:
            with contextlib.suppress(TimeoutError, StreamClosedError):
                async with asyncio.timeout(HANDSHAKE_S):
                    token = await wire.receive_exactly(_TOKEN_BYTES)
                    self._forget_void_offers()
                    offer = self._offers.pop(token.hex(), None)
                    if offer is None:
                        return None
                    engine = Engine(self._credentials, expected=offer.certificate, server=True)
                    await shake_hands(wire, engine)
                    return offer, LaneStream(offer.peer, self._streams, wire=wire, engine=engine)
            return None
        finally:
            self._arriving -= 1
