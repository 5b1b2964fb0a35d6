"""A direct connection: authenticated and encrypted, between two nodes, for one stream after another.

Owns how a stream is begun on it: the side that opens the streams, always the same one, names the protocol of each and
hears whether it is served, so that a connection that has died meanwhile is noticed before its stream is handed out.
Does not know how a connection is made, nor how many are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

from pydantic import StringConstraints

from gossiptrain.net.direct.sealed_wire import SealedWire
from gossiptrain.net.direct.stream import LENGTH_BYTES, DirectStream
from gossiptrain.net.framing import Message, receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError
from gossiptrain.net.upload_limit import NO_LIMIT, UploadLimit

KEY_LIMIT_BYTES = 64 << 30
"""A connection that has carried so much is not used again: TLS allows some six times as much under one key."""
FRESH_S = 10.0
"""A connection on which a ping was answered within so long works. Routers keep idle connections for longer."""
_OPENING_BYTES = 1 << 10
_NO_PROTOCOL = ""
"""Nobody serves it, so a request for it is answered and changes nothing."""


class StreamRequest(Message):
    """The side that opens the streams wants to begin one."""

    protocol: Annotated[str, StringConstraints(max_length=128)]


class StreamReply(Message):
    """Whether the protocol is served. Where it is, the stream has begun; where not, the connection is free as
    before."""

    served: bool


class DirectConnection:
    """One end of a connection, after the handshake."""

    def __init__(self, peer: PeerId, wire: SealedWire, *, opens: bool) -> None:
        """peer: whose certificate `wire` is bound to. opens: whether this side opens the streams."""
        self.peer = peer
        self.opens = opens
        self.is_free = True
        """Whether both sides have ended the last stream; known only to the side that opens them."""
        self._wire = wire
        self._length = memoryview(bytearray(LENGTH_BYTES))
        self._heard_s = -FRESH_S

    @property
    def is_fresh(self) -> bool:
        """Whether the other side has answered a `ping` a moment ago."""
        return asyncio.get_running_loop().time() - self._heard_s < FRESH_S

    @property
    def key_limit_reached(self) -> bool:
        """Whether it has carried so much that it should not be used again."""
        return self._wire.carried_bytes >= KEY_LIMIT_BYTES

    async def begin(
        self,
        protocol: str,
        streams: dict[Stream, None],
        *,
        on_close: Callable[[], None],
        upload: UploadLimit = NO_LIMIT,
    ) -> DirectStream | None:
        """Begins a stream, which stands in `streams` until it is ended here; None where `protocol` is not served.

        on_close: called when this side has ended it in order. upload: of all streams of this peer together. Raises
        StreamClosedError, ProtocolViolationError; then, and where it is cancelled, the connection is of no more use.
        """
        opening = DirectStream(self.peer, {}, wire=self._wire, opened_here=True)
        await send_message(opening, StreamRequest(protocol=protocol), limit_bytes=_OPENING_BYTES)
        if not await self._is_served(opening):
            return None
        self.is_free = False
        return DirectStream(self.peer, streams, wire=self._wire, opened_here=True, upload=upload, on_close=on_close)

    async def ping(self) -> None:
        """Hears from the other side, while no stream is open. Raises as `begin` does."""
        opening = DirectStream(self.peer, {}, wire=self._wire, opened_here=True)
        await send_message(opening, StreamRequest(protocol=_NO_PROTOCOL), limit_bytes=_OPENING_BYTES)
        await self._is_served(opening)
        self._heard_s = asyncio.get_running_loop().time()

    async def requested(self) -> str:
        """Waits for the other side to begin a stream; its protocol. Raises as `begin` does."""
        opening = DirectStream(self.peer, {}, wire=self._wire, opened_here=False)
        return (await receive_message(opening, StreamRequest, limit_bytes=_OPENING_BYTES)).protocol

    async def refuse(self) -> None:
        """The protocol that was requested is not served. Raises StreamClosedError."""
        await self._reply(served=False)

    async def accept(self, streams: dict[Stream, None], *, upload: UploadLimit = NO_LIMIT) -> DirectStream:
        """Begins the stream that was requested; it stands in `streams` until it is ended here. upload: as above."""
        await self._reply(served=True)
        return DirectStream(self.peer, streams, wire=self._wire, opened_here=False, upload=upload)

    def set_idle(self, on_broken: Callable[[], None] | None = None) -> None:
        """Gives memory back between two streams, and calls `on_broken` where the connection is of no more use.

        on_broken: only at the side that opens the streams; the other one waits for a request anyway.
        """
        self._wire.release_memory()
        if on_broken is not None:
            self._wire.wire.watch(lambda: self._look(on_broken))
            self._look(on_broken)  # some of it may be here already

    def set_active(self) -> None:
        """Ends the idle time."""
        self._wire.wire.stop_watching()
        # Again each time: when the connection was made, others may have kept the link busy.
        self._wire.wire.suit_to_path()

    def end(self) -> None:
        """Ends the connection, and the stream on it."""
        self._wire.end()

    async def _is_served(self, opening: DirectStream) -> bool:
        return (await receive_message(opening, StreamReply, limit_bytes=_OPENING_BYTES)).served

    async def _reply(self, *, served: bool) -> None:
        opening = DirectStream(self.peer, {}, wire=self._wire, opened_here=False)
        await send_message(opening, StreamReply(served=served), limit_bytes=_OPENING_BYTES)

    def _look(self, on_broken: Callable[[], None]) -> None:
        """All that may come now is the other side's end of the last stream, once."""
        try:
            while received := self._wire.receive_now(self._length):
                if self.is_free or received < LENGTH_BYTES or any(self._length):
                    raise StreamClosedError("bytes came after the end of a stream")
                self.is_free = True
        except StreamClosedError:
            on_broken()
