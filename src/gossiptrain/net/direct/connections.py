"""Direct, mutually authenticated, encrypted connections for bulk bytes between two nodes.

Owns the streams over them, those that this node opens and those that others open here: a connection is made when it is
first needed, and kept after a stream for the next one to the same peer. Does not know what travels over a connection,
how two nodes agree on one, nor what is done where none can be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gossiptrain.core.recent import Recent
from gossiptrain.net.direct.acceptor import HANDSHAKE_S
from gossiptrain.net.direct.connection import DirectConnection
from gossiptrain.net.direct.idle_pool import IdlePool
from gossiptrain.net.direct.messages import NoDirectConnectionError
from gossiptrain.net.direct.negotiation import REACH_S, Negotiation, Sight
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

DIRECT = "/gossiptrain/direct"
DIRECT_WORTH_BYTES = 16 << 10
"""For fewer bytes than this no connection is dialled; one that is there is used. Once there, it is faster for any
number of bytes, and it has paid for its handshakes after two or three rounds."""
PATIENCE_S = 1.0
"""Longest wait for a way through two routers, which may take three times as long; whoever wants a stream may not have
so much time."""
MAX_PEERS = 1024
"""Of so many it is remembered whether a relay joins them with this node."""
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
    ) -> None:
        """handler_of: who answers the streams of a protocol.

        limits: of all streams that others open at this node, over connections or not.
        """
        self._transport = transport
        self._handler_of = handler_of
        self._limits = limits
        self._tasks = HandlerTasks()
        self._streams: dict[Stream, None] = {}
        self._idle = IdlePool()
        self._sight = sight
        self._relayed: Recent[PeerId, None] = Recent(MAX_PEERS)
        """Whom only a relay joined with this node when they were last asked for a connection."""
        self._late: dict[PeerId, asyncio.Task[DirectConnection]] = {}
        """Attempts that take longer than anybody waits for."""
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
        connection = self._idle.take(peer)
        if connection is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._begin(connection, protocol)
        except UnreachableError:
            raise
        except (ConnectionError, TimeoutError):
            self._idle.end_all(peer)  # whatever has broken this one has as a rule broken all
            return None

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream over a new connection.

        Raises NoDirectConnectionError, also where it has to lead through routers and is not there after `PATIENCE_S`;
        when it comes later it is kept. UnreachableError where `peer` is not there.
        """
        if peer in self._late:
            raise NoDirectConnectionError("one is being tried already")
        attempt = asyncio.create_task(self._connected(peer), name="attempt at a connection")
        try:
            await asyncio.wait([attempt], timeout=PATIENCE_S)
            if peer not in self._relayed:
                await asyncio.wait([attempt])
        except asyncio.CancelledError:
            self._keep_when_done(peer, attempt)
            raise
        if not attempt.done():
            self._keep_when_done(peer, attempt)
            raise NoDirectConnectionError("none could be made in time")
        connection = attempt.result()
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                return await self._begin(connection, protocol)
        except UnreachableError:
            raise
        except (ConnectionError, TimeoutError) as error:
            raise NoDirectConnectionError(
                f"the other side did not take the connection: {str(error) or 'no answer in time'}"
            ) from error

    async def close(self) -> None:
        """Ends all connections and takes no more."""
        late = list(self._late.values())
        for attempt in late:
            attempt.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        self._negotiation.close()
        self._idle.close()
        for stream in tuple(self._streams):
            stream.abort()
        await self._tasks.close()

    async def _connected(self, peer: PeerId) -> DirectConnection:
        """A new connection. Raises as `open` does."""
        try:
            async with (
                asyncio.timeout(REACH_S + HANDSHAKE_S),
                opened(self._transport, peer, protocol=DIRECT) as stream,
            ):
                self._relayed.pop(peer, None)
                if self._sight.host_of(stream) is None:
                    self._relayed[peer] = None
                return await self._negotiation.negotiate(stream)
        except (StreamClosedError, ProtocolViolationError) as error:
            raise UnreachableError(str(error)) from error
        except TimeoutError as error:
            raise NoDirectConnectionError("the other side has not answered in time") from error

    def _keep_when_done(self, peer: PeerId, attempt: asyncio.Task[DirectConnection]) -> None:
        """Nobody waits for the attempt any more, but the next stream will be glad of what comes of it."""

        def done(attempt: asyncio.Task[DirectConnection]) -> None:
            self._late.pop(peer, None)
            if not attempt.cancelled() and attempt.exception() is None:
                self._idle.keep(attempt.result())

        self._late[peer] = attempt
        attempt.add_done_callback(done)

    async def _begin(self, connection: DirectConnection, protocol: str) -> Stream:
        try:
            stream = await connection.begin(protocol, self._streams, on_close=lambda: self._idle.keep(connection))
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
                stream = await connection.accept(self._streams)
                stream.protocol = protocol
                await answer(handler, stream, self._limits)

    def _leave(self, connection: DirectConnection) -> None:
        self._idle.release(connection)
        connection.end()
