"""One stream on a direct connection, which carries one after another.

Owns how bytes are told from the end of a stream where the connection goes on: all that one `write` is given is a
record, its length and then its bytes, and a record of no bytes is the end of one direction. The opener ends first, the
other side follows when it has heard that. Only then may the connection carry another stream; any other end of a
stream is the end of its connection, too. Does not know how a connection is agreed upon.
"""

from __future__ import annotations

from collections.abc import Callable

from gossiptrain.net.congestion import LineShare
from gossiptrain.net.direct.sealed_wire import SEAL_BYTES, SealedWire
from gossiptrain.net.transport import Buffer, PeerId, Stream, StreamClosedError
from gossiptrain.net.upload_limit import NO_LIMIT, UploadLimit
from gossiptrain.net.wire import ENDED_HERE, ENDED_THERE
from gossiptrain.net.wire_stream import WireStream

LENGTH_BYTES = 8
END = bytes(LENGTH_BYTES)


class DirectStream(WireStream):
    """One end of a stream on a connection."""

    kind = "direct"

    def __init__(
        self,
        remote: PeerId,
        open_streams: dict[Stream, None],
        *,
        wire: SealedWire,
        opened_here: bool,
        upload: UploadLimit = NO_LIMIT,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """upload: what it shares with all other streams of this peer; none for the few words that begin a stream.

        on_close: called when this side has ended the stream in order, and `wire` is not this stream's any more.
        """
        super().__init__(remote, open_streams, connection=wire)
        self._upload = upload
        self._wire = wire
        self.opened_here = opened_here
        self._on_close = on_close
        self._length = memoryview(bytearray(LENGTH_BYTES))
        self._record_bytes = 0
        self._is_filling = self._is_writing = False
        self._ended_there = self._closed = self._shares_line = False

    def share_line(self, streams: int, bytes_per_s: float | None) -> None:
        if not self._closed:
            self._shares_line = True
            self._wire.wire.share_line(LineShare(streams, bytes_per_s))

    def waits_for_line(self) -> bool:
        return not self._closed and self._wire.wire.waits_for_line()

    async def write(self, data: Buffer) -> None:
        left = memoryview(data).cast("B")
        if self._closed:
            raise StreamClosedError(ENDED_HERE)
        if not left:
            return
        length = len(left).to_bytes(LENGTH_BYTES, "big")
        self._is_writing = True  # and stays so where a write breaks off: nobody could tell where it ends
        piece_bytes = self._upload.piece_bytes(SEAL_BYTES)
        while left:
            piece, left = left[:piece_bytes], left[piece_bytes:]
            await self._upload.take(len(piece))
            await self._wire.send(piece, head=length)
            length = b""
            self.bytes_sent += len(piece)
        self._is_writing = False

    async def close(self) -> None:
        if self._is_in_order() and self._end():
            self._closed = True
            if self._shares_line:
                self._wire.wire.share_line(None)
            self._leave()
            self._on_close()
        else:
            self.abort()

    def abort(self) -> None:
        if not self._closed:
            super().abort()

    async def _fill(self, target: memoryview) -> int:
        if self._closed:
            raise StreamClosedError(ENDED_HERE)
        self._is_filling = True
        try:
            if not self._record_bytes:
                self._record_bytes = await self._next_record()
            received = await self._wire.receive(target[: self._record_bytes])
        finally:
            self._is_filling = False
        self._record_bytes -= received
        return received

    async def _next_record(self) -> int:
        """Its length in bytes. Raises StreamClosedError at the end of the stream."""
        if not self._ended_there:
            # A length is a TLS record of its own, so it comes whole or, where the wait is cancelled, not at all.
            received = await self._wire.receive(self._length)
            if received < LENGTH_BYTES:
                self.abort()
            elif any(self._length):
                self._wire.wire.keep_to_share()
                return int.from_bytes(self._length, "big")
            else:
                self._ended_there = True
        raise StreamClosedError(ENDED_THERE)

    def _is_in_order(self) -> bool:
        unfinished = self._is_filling or self._is_writing or self._record_bytes or self._put_back
        return not (self._closed or unfinished) and self._ended_there is not self.opened_here

    def _end(self) -> bool:
        try:
            return self._wire.send_now(END)
        except StreamClosedError:
            return False
