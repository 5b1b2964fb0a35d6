"""Streams over libp2p's daemon: each is one connection to its Unix socket.

Owns how bytes go through it, and where the other end of a stream is. Does not know how streams are opened.
"""

from __future__ import annotations

from gossiptrain.net.addresses import readable_addresses
from gossiptrain.net.libp2p.packed_address import address_text
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import Buffer, PeerId, Stream
from gossiptrain.net.upload_limit import NO_LIMIT, UploadLimit
from gossiptrain.net.wire import Wire
from gossiptrain.net.wire_stream import WireStream

_WRITE_PIECE_BYTES = 256 << 10


class Libp2pStream(WireStream):
    """One end of a stream."""

    def __init__(
        self,
        remote: PeerId,
        open_streams: dict[Stream, None],
        *,
        wire: Wire,
        packed_address: bytes = b"",
        upload: UploadLimit = NO_LIMIT,
    ) -> None:
        """packed_address: multiaddr of the other side's end, as the daemon sees it, in libp2p's bytes. upload: what it
        shares with all other streams of this peer."""
        super().__init__(remote, open_streams, connection=wire)
        self._wire = wire
        self._upload = upload
        self.packed_address = packed_address

    async def write(self, data: Buffer) -> None:
        left = memoryview(data).cast("B")
        piece_bytes = self._upload.piece_bytes(_WRITE_PIECE_BYTES)
        while left:
            piece, left = left[:piece_bytes], left[piece_bytes:]
            await self._upload.take(len(piece))
            await self._wire.send(piece)
            self.bytes_sent += len(piece)

    async def _fill(self, target: memoryview) -> int:
        return await self._wire.receive(target)


def place_of(stream: Stream) -> str:
    """The address at which the daemon sees the other end, by way of a relay perhaps; empty where it is not known."""
    if not isinstance(stream, Libp2pStream) or not stream.packed_address:
        return ""
    try:
        return address_text(stream.packed_address)
    except ValueError:
        return ""


def host_of(stream: Stream) -> IpAddress | None:
    """The address at which the daemon sees the other end; None where it is not known, or a relay stands between."""
    return next((address.ip for address in readable_addresses([place_of(stream)]) if not address.relayed), None)
