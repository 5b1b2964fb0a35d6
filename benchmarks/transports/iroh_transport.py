"""A transport over iroh (QUIC, one connection for all streams of two peers), to compare it with libp2p's daemon.

Owns how the words of `net.transport` become those of iroh 1.2's Python binding. It is an experiment and no part of the
package: its directory holds what this peer has put there itself, since iroh has no DHT, and no relay is asked, since
iroh's are servers. What the comparison found is in `docs/security.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from typing import Any, Self

import iroh

from gossiptrain.errors import AddressError
from gossiptrain.net.addresses import parse_dial_address
from gossiptrain.net.framing import ProtocolViolationError, read_frame, write_frame
from gossiptrain.net.handlers import HandlerTasks, StreamLimits, answer
from gossiptrain.net.identity import Identity, decode_base58, encode_base58, verify
from gossiptrain.net.transport import (
    Buffer,
    Clock,
    Directory,
    PeerId,
    Stream,
    StreamClosedError,
    StreamHandler,
    Transport,
    UnreachableError,
    check_entry,
)

ALPN = b"/gossiptrain/iroh/1"
KEY_BYTES = 32
NAME_LIMIT_BYTES = 256
PIECE_BYTES = 1 << 20
"""So much is handed to iroh, and taken from it, at once."""
DIAL_S = 5.0
"""QUIC itself asks for half a minute whether somebody is there: a closed UDP port mostly says nothing."""
NOBODY = ""
"""A protocol that nobody speaks."""
SERVED, NOT_SERVED = b"\x01", b"\x00"


class IrohStream(Stream):
    """One two-way QUIC stream."""

    kind = "iroh"

    def __init__(self, remote: PeerId, stream: iroh.BiStream, tasks: set[asyncio.Task[Any]]) -> None:
        super().__init__(remote)
        self._sending, self._receiving = stream.send(), stream.recv()
        self._tasks = tasks
        self._arrived = bytearray()
        self._reading: asyncio.Task[bytes] | None = None
        self._ended = False

    async def read_into(self, target: memoryview) -> None:
        wanted = target.nbytes
        while len(self._arrived) < wanted:
            if not await self._receive():
                raise StreamClosedError("the stream has ended")
        target[:] = self._arrived[:wanted]
        del self._arrived[:wanted]
        self.bytes_received += wanted

    async def _receive(self) -> bool:
        """Whether something came. One read is under way at a time, and outlives whoever waits for it."""
        if self._ended:
            return False
        if self._reading is None:
            self._reading = self._keep(self._receiving.read(PIECE_BYTES))
        try:
            data = await asyncio.shield(self._reading)
        except iroh.IrohError:
            data = b""
        self._reading = None
        self._arrived += data
        return bool(data)

    async def write(self, data: Buffer) -> None:
        if self._ended:
            raise StreamClosedError("the stream has ended")
        whole = memoryview(data).cast("B")
        for start in range(0, len(whole), PIECE_BYTES):
            piece = bytes(whole[start : start + PIECE_BYTES])
            try:
                await self._sending.write_all(piece)
            except iroh.IrohError as error:
                raise StreamClosedError("the stream was ended by the other side") from error
            self.bytes_sent += len(piece)

    async def wait_for_end(self) -> None:
        while await self._receive():
            self._arrived.clear()

    async def close(self) -> None:
        if not self._ended:
            self._ended = True
            with contextlib.suppress(iroh.IrohError):
                await self._sending.finish()

    def abort(self) -> None:
        if not self._ended:
            self._ended = True
            self._keep(self._reset())
        if self._reading is not None:
            self._reading.cancel()

    async def _reset(self) -> None:
        for ending in (self._sending.reset(1), self._receiving.stop(1)):
            with contextlib.suppress(iroh.IrohError):
                await ending

    def _keep(self, awaited: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(awaited)
        self._tasks.add(task)
        task.add_done_callback(self._let_go)
        return task

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


class OwnDirectory(Directory):
    """Entries of this peer alone: iroh has nothing that would hold those of others."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, tuple[bytes, float]]] = {}

    async def put(self, key: str, subkey: str, value: bytes, *, lifetime_s: float) -> bool:
        check_entry(key, subkey, value=value, lifetime_s=lifetime_s)
        self._entries.setdefault(key, {})[subkey] = (value, time.monotonic() + lifetime_s)
        return True

    async def get(self, key: str) -> dict[str, bytes]:
        now_s = time.monotonic()
        return {subkey: value for subkey, (value, until_s) in self._entries.get(key, {}).items() if until_s > now_s}


class IrohTransport(Transport):
    """One endpoint. Use `start`."""

    def __init__(self, endpoint: iroh.Endpoint, identity: Identity) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self.peer_id = identity.peer_id
        own = (socket for socket in endpoint.bound_sockets() if not socket.startswith("["))
        self.addresses = tuple(_multiaddr(socket, self.peer_id) for socket in own)
        self.directory = OwnDirectory()
        self.clock = Clock()
        self._handlers: dict[str, StreamHandler] = {}
        self._connections: dict[PeerId, iroh.Connection] = {}
        self._places: dict[PeerId, tuple[str, ...]] = {}
        self._answering = HandlerTasks()
        self._limits = StreamLimits()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keep(self._accept())

    @classmethod
    async def start(cls, identity: Identity, *, bind_address: str = "127.0.0.1:0") -> Self:
        """Listens at this address, and asks nobody else for anything."""
        options = iroh.EndpointOptions(
            preset=iroh.preset_minimal(),
            bind_addr=bind_address,
            secret_key=identity.to_protobuf()[-2 * KEY_BYTES : -KEY_BYTES],
            alpns=[ALPN],
            relay_mode=iroh.RelayMode.disabled(),
        )
        return cls(await iroh.Endpoint.bind(options), identity)

    async def connect(self, address: str) -> PeerId:
        try:
            parsed = parse_dial_address(address)
        except AddressError as error:
            raise UnreachableError(f"not an address: {error.what}") from error
        assert parsed.peer is not None
        self._places[parsed.peer] = (address,)
        await self._connection(parsed.peer)
        return parsed.peer

    async def _connection(self, peer: PeerId) -> iroh.Connection:
        known = self._connections.get(peer)
        if known is not None and known.close_reason() is None:
            return known
        places = self._places.get(peer, ())
        if not any(_sockets(places)):
            raise UnreachableError(f"no address of the peer {peer} is known")
        sockets = list(_sockets(places))
        target = iroh.EndpointAddr(_endpoint_id(peer), None, sockets)
        try:
            async with asyncio.timeout(DIAL_S):
                connection = await self._endpoint.connect(target, ALPN)
        except TimeoutError as error:
            raise UnreachableError(f"nobody answers as {peer} at {', '.join(sockets)}") from error
        except iroh.IrohError as error:
            raise UnreachableError(error.message()) from error
        self._added(connection)
        # The other side knows of the connection once it has answered on it.
        with contextlib.suppress(UnreachableError):
            await self.open_stream(peer, NOBODY)
        return connection

    async def bootstrap(self, peers: Sequence[PeerId]) -> None:
        """There is no directory to join."""

    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        self._places[peer] = tuple(addresses)

    async def open_stream(self, peer: PeerId, protocol: str, *, bulk_bytes: int = 0) -> Stream:
        connection = await self._connection(peer)
        try:
            stream = IrohStream(peer, await connection.open_bi(), self._tasks)
        except iroh.IrohError as error:
            raise UnreachableError(error.message()) from error
        try:
            await write_frame(stream, protocol.encode(), limit_bytes=NAME_LIMIT_BYTES)
            if await stream.read_exactly(1) != SERVED:
                raise UnreachableError(f"the peer {peer} does not speak {protocol}")
        except StreamClosedError as error:
            raise UnreachableError(str(error)) from error
        except BaseException:
            stream.abort()
            raise
        stream.protocol = protocol
        stream.bytes_sent = stream.bytes_received = 0
        return stream

    async def serve(self, protocol: str, handler: StreamHandler) -> None:
        self._handlers[protocol] = handler

    async def _accept(self) -> None:
        while (incoming := await self._endpoint.accept_next()) is not None:
            self._keep(self._handshake(incoming))

    async def _handshake(self, incoming: iroh.Incoming) -> None:
        with contextlib.suppress(iroh.IrohError):
            self._added(await (await incoming.accept()).connect())

    def _added(self, connection: iroh.Connection) -> None:
        peer = _peer_id(connection.remote_id())
        self._connections[peer] = connection
        self._keep(self._accept_streams(peer, connection))

    async def _accept_streams(self, peer: PeerId, connection: iroh.Connection) -> None:
        with contextlib.suppress(iroh.IrohError):
            while True:
                stream = IrohStream(peer, await connection.accept_bi(), self._tasks)
                self._keep(self._begin(stream))

    async def _begin(self, stream: IrohStream) -> None:
        try:
            name = (await read_frame(stream, limit_bytes=NAME_LIMIT_BYTES)).decode()
            handler = self._handlers.get(name)
            await stream.write(NOT_SERVED if handler is None else SERVED)
        except (ConnectionError, ProtocolViolationError, UnicodeDecodeError):
            stream.abort()
            return
        if handler is None:
            await stream.close()
            return
        stream.protocol = name
        stream.bytes_sent = stream.bytes_received = 0
        self._answering.start(answer(handler, stream, self._limits), name=name, release=stream.abort)

    def sign(self, data: bytes) -> bytes:
        return self._identity.sign(data)

    def verify(self, peer: PeerId, data: bytes, signature: bytes) -> bool:
        return verify(peer, data, signature)

    async def close(self) -> None:
        await self._answering.close()
        await self._endpoint.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, awaited: Awaitable[None]) -> None:
        task = asyncio.ensure_future(awaited)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _sockets(addresses: Sequence[str]) -> Iterator[str]:
    for address in addresses:
        with contextlib.suppress(AddressError):
            parsed = parse_dial_address(address)
            yield f"{parsed.host}:{parsed.port}"


def _multiaddr(socket: str, peer: PeerId) -> str:
    host, _, port = socket.rpartition(":")
    return f"/ip4/{host}/udp/{port}/quic-v1/p2p/{peer}"


def _endpoint_id(peer: PeerId) -> iroh.EndpointId:
    return iroh.EndpointId.from_bytes(decode_base58(peer)[-KEY_BYTES:])


def _peer_id(endpoint: iroh.EndpointId) -> PeerId:
    return PeerId(encode_base58(bytes.fromhex("002408011220") + endpoint.to_bytes()))
