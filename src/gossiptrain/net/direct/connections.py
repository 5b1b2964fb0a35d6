"""Direct, mutually authenticated, encrypted connections for bulk bytes between two nodes.

Owns the streams over them, those that this node opens and those that others open here: a connection is made when it is
first needed, and kept after a stream for the next one to the same peer. Does not know what travels over a connection,
how two nodes agree on one, nor what is done where none can be made.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gossiptrain.net.direct.acceptor import HANDSHAKE_S
from gossiptrain.net.direct.connection import DirectConnection
from gossiptrain.net.direct.idle_pool import IdlePool
from gossiptrain.net.direct.messages import NoDirectConnectionError
from gossiptrain.net.direct.negotiation import REACH_S, Negotiation, Sight
from gossiptrain.net.direct.stream import DirectStream
from gossiptrain.net.framing import ProtocolViolationError, opened
from gossiptrain.net.handlers import HandlerTasks, StreamLimits, answer
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import (
    PeerId,
    Stream,
    StreamClosedError,
    StreamHandler,
    Transport,
    UnreachableError,
)
from gossiptrain.net.upload_limit import NO_LIMIT, UploadLimit

DIRECT = "/gossiptrain/direct"
DIRECT_WORTH_BYTES = 16 << 10
"""For fewer bytes than this no connection is dialled; one that is there is used. Once there, it is faster for any
number of bytes, and it has paid for its handshakes after two or three rounds."""
PATIENCE_S = 1.0
"""Longest wait for a way through two routers, which may take three times as long; whoever wants a stream may not have
so much time."""
ANSWER_S = 1.0
"""A kept connection that does not answer for so long is taken for dead, and another one is dialled."""


class DirectConnections:
    """The direct connections of one node: it opens streams over them, and answers those of others."""

    def __init__(
        self,
        transport: Transport,
        *,
        handler_of: Callable[[str], StreamHandler | None],
        sight: Sight,
        limits: StreamLimits,
        upload: UploadLimit = NO_LIMIT,
    ) -> None:
        """handler_of: who answers the streams of a protocol.

        limits, upload: of all streams that others open at this node, and of all that it sends, over connections or not.
        """
        self._transport = transport
        self._handler_of = handler_of
        self._limits = limits
        self._upload = upload
        self._tasks = HandlerTasks()
        self._streams: dict[Stream, None] = {}
        self._idle = IdlePool()
        self._sight = sight
        self._preparing: dict[PeerId, asyncio.Task[None]] = {}
        self._opening: Counter[PeerId] = Counter()
        """To whom streams are being opened."""
        self._attempts: dict[PeerId, asyncio.Task[DirectConnection]] = {}
        """To call each other through routers, which may take longer than anybody waits for."""
        self._negotiation = Negotiation(transport, self._tasks, sight=sight, on_direct=self._serve_later)

    async def open_for_others(self, hosts: Sequence[IpAddress], port: int) -> None:
        """Listens at `hosts` and from now on offers connections to whoever asks, or refuses where there are no hosts.

        port 0: any free one. Raises OSError.
        """
        self._negotiation.listen(hosts, port)
        await self._transport.serve(DIRECT, self._negotiation.offer)

    async def open_kept(self, peer: PeerId, protocol: str) -> Stream | None:
        """Opens a stream over a connection that is there; None where none is, or none that still works.

        Raises UnreachableError where `peer` does not serve `protocol`.
        """
        await self._prepared(peer)
        connection = self._idle.take(peer)
        if connection is None:
            return None
        try:
            with self._opens(peer):
                async with asyncio.timeout(ANSWER_S):
                    return await self._begin(connection, protocol)
        except UnreachableError:
            raise
        except (ConnectionError, TimeoutError):
            self._idle.end_all(peer)  # whatever has broken this one has as a rule broken all
            return None

    async def prepare(self, peer: PeerId) -> None:
        """Has a connection that works to `peer` among those that are kept, so that a stream begins at once.

        Raises as `open` does. Whoever opens a stream meanwhile waits for this.
        """
        if peer not in self._preparing:
            preparing = asyncio.create_task(self._prepare(peer), name="a connection before it is needed")
            self._preparing[peer] = preparing
            preparing.add_done_callback(lambda _: self._preparing.pop(peer))
            preparing.add_done_callback(_retrieved)  # where whoever wanted it does not wait any more
        await asyncio.shield(self._preparing[peer])

    async def _prepare(self, peer: PeerId) -> None:
        streams = (stream for stream in self._streams if stream.remote == peer)
        if self._opening[peer] or any(isinstance(stream, DirectStream) and stream.opened_here for stream in streams):
            return  # its connection is there again when that is over
        connection = self._idle.take(peer)
        if connection is None and self._idle.holds_one_to(peer):
            return  # the other side is about to end its last stream
        if connection is None or not await self._answers(connection):
            self._idle.end_all(peer)  # whatever has broken one has as a rule broken all
            connection = await self._connected(peer) or await self._soon_through_routers(peer)
            if not await self._answers(connection):
                raise NoDirectConnectionError("the other side did not take the connection")
        self._idle.keep(connection)

    async def _answers(self, connection: DirectConnection) -> bool:
        """Whether a connection on which no stream is open works; where it does not, it is ended."""
        if connection.is_fresh:
            return True
        try:
            # Nobody waits yet, and whatever else is on the line may keep it busy: longer than for a stream.
            async with asyncio.timeout(HANDSHAKE_S):
                await connection.ping()
        except (ConnectionError, TimeoutError):
            connection.end()
            return False
        except BaseException:
            connection.end()
            raise
        return True

    async def _prepared(self, peer: PeerId) -> None:
        """Waits until what is being prepared is there, or cannot be, but for a moment only."""
        if peer in self._preparing:
            await asyncio.wait([self._preparing[peer]], timeout=ANSWER_S)

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream over a new connection. Raises NoDirectConnectionError; UnreachableError where `peer` is not
        there."""
        with self._opens(peer):
            connection = await self._connected(peer) or await self._soon_through_routers(peer)
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    return await self._begin(connection, protocol)
            except UnreachableError:
                raise
            except (ConnectionError, TimeoutError) as error:
                raise NoDirectConnectionError(
                    f"the other side did not take the connection: {str(error) or 'no answer in time'}"
                ) from error

    @contextmanager
    def _opens(self, peer: PeerId) -> Iterator[None]:
        """While it lasts nothing is prepared for this peer."""
        self._opening[peer] += 1
        try:
            yield
        finally:
            self._opening -= Counter([peer])

    async def can_be_dialled_by(self, peer: PeerId) -> bool | None:
        """Whether the peer, asked to, reaches the port at which this node listens; None where it cannot be asked.

        Raises UnreachableError, StreamClosedError, ProtocolViolationError, TimeoutError.
        """
        async with opened(self._transport, peer, protocol=DIRECT) as stream:
            if self._sight.host_of(stream) is None:
                return None
            return await self._negotiation.is_called_back(stream)

    async def close(self) -> None:
        """Ends all connections and takes no more."""
        attempts: list[asyncio.Task[Any]] = [*self._preparing.values(), *self._attempts.values()]
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        self._negotiation.close()
        self._idle.close()
        for stream in tuple(self._streams):
            stream.abort()
        await self._tasks.close()

    async def _connected(self, peer: PeerId, *, through_routers: bool = False) -> DirectConnection | None:
        """A new connection. Raises as `open` does.

        None where only a relay joins the two, and a way through their routers is not asked for.
        """
        try:
            async with opened(self._transport, peer, protocol=DIRECT) as stream:
                if through_routers or self._sight.host_of(stream) is not None:
                    return await self._negotiation.negotiate(stream)
                return None
        except (StreamClosedError, ProtocolViolationError) as error:
            raise UnreachableError(str(error)) from error

    async def _soon_through_routers(self, peer: PeerId) -> DirectConnection:
        """A connection if it is there within `PATIENCE_S`; one that comes later is kept for the next stream."""
        if peer in self._attempts:
            raise NoDirectConnectionError("one is being tried already")
        attempt = asyncio.create_task(self._through_routers(peer), name="attempt to call each other through routers")
        self._attempts[peer] = attempt
        attempt.add_done_callback(lambda _: self._attempts.pop(peer))
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.shield(attempt)
        except TimeoutError as error:
            attempt.add_done_callback(self._keep)
            raise NoDirectConnectionError("none could be made in time") from error
        except asyncio.CancelledError:
            attempt.add_done_callback(self._keep)
            raise

    async def _through_routers(self, peer: PeerId) -> DirectConnection:
        try:
            async with asyncio.timeout(REACH_S + HANDSHAKE_S):
                connection = await self._connected(peer, through_routers=True)
        except TimeoutError as error:
            raise NoDirectConnectionError("the other side has not answered in time") from error
        assert connection is not None  # since it was asked for
        return connection

    def _keep(self, attempt: asyncio.Task[DirectConnection]) -> None:
        if not attempt.cancelled() and attempt.exception() is None:
            self._idle.keep(attempt.result())

    async def _begin(self, connection: DirectConnection, protocol: str) -> Stream:
        try:
            stream = await connection.begin(
                protocol, self._streams, on_close=lambda: self._idle.keep(connection), upload=self._upload
            )
        except BaseException:
            connection.end()
            raise
        if stream is None:
            self._idle.keep(connection)
            raise UnreachableError(f"the peer {connection.peer} does not speak {protocol}")
        stream.protocol = protocol
        return stream

    def _serve_later(self, connection: DirectConnection) -> None:
        self._tasks.start(
            self._serve(connection), name="handler of a connection", release=lambda: self._leave(connection)
        )

    async def _serve(self, connection: DirectConnection) -> None:
        """Answers the streams on a connection, one after the other, until either side ends it."""
        while True:
            self._idle.keep(connection)
            protocol = await connection.requested()
            self._idle.release(connection)
            handler = self._handler_of(protocol)
            if handler is None:
                await connection.refuse()
            else:
                stream = await connection.accept(self._streams, upload=self._upload)
                stream.protocol = protocol
                await answer(handler, stream, self._limits)

    def _leave(self, connection: DirectConnection) -> None:
        self._idle.release(connection)
        connection.end()


def _retrieved(preparing: asyncio.Task[None]) -> None:
    if not preparing.cancelled():
        preparing.exception()
