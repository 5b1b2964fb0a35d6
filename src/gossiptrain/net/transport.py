"""The interfaces through which peers reach each other.

Owns the words `Transport`, `Stream`, `Directory` and `Clock`, and the limits of directory entries; does not know what
travels in a stream. Two wings implement them: `libp2p` for real networks and `virtual` for a network in memory under
virtual time.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import NewType, TypeAlias

MAX_NAME_BYTES = 128
MAX_VALUE_BYTES = 1024
MAX_LIFETIME_S = 3600.0
MAX_SUBKEYS = 128
"""Most entries that one key has. Where there are more, those that would have expired first are dropped."""


def check_entry(key: str, subkey: str, *, value: bytes, lifetime_s: float) -> None:
    """Raises ValueError where an entry is outside the limits."""
    if not 0 < len(key.encode()) <= MAX_NAME_BYTES or not 0 < len(subkey.encode()) <= MAX_NAME_BYTES:
        raise ValueError(f"key and subkey of a directory entry have 1 to {MAX_NAME_BYTES} bytes")
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"a directory entry has at most {MAX_VALUE_BYTES} bytes, not {len(value)}")
    if not 0 < lifetime_s <= MAX_LIFETIME_S:
        raise ValueError(f"a directory entry lives at most {MAX_LIFETIME_S:g} s, not {lifetime_s:g}")


class Clock:
    """Monotonic seconds of the running event loop, the one way to read the time and to wait.

    Under the loop of `virtual.time` the same protocol code runs in virtual time. There is no wall clock here: peers
    never compare clocks.
    """

    def now(self) -> float:
        """Seconds since an arbitrary start; only differences mean anything."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Waits; returns at once for zero or less."""
        await asyncio.sleep(max(0.0, seconds))

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """A context that raises TimeoutError in its body after `seconds`."""
        return asyncio.timeout(max(0.0, seconds))


PeerId = NewType("PeerId", str)
"""A libp2p peer id in base58, for example `12D3KooW...`. It is authenticated: nobody else can speak under it."""

Buffer: TypeAlias = bytes | bytearray | memoryview


class StreamClosedError(ConnectionError):
    """The other side, or the network between, ended the stream before all expected bytes were read or written."""


class UnreachableError(ConnectionError):
    """No stream could be opened: the peer is gone, unknown, or does not speak the protocol."""


class Stream(ABC):
    """A reliable, ordered, encrypted, two-way flow of bytes to one authenticated peer.

    One task may read while another writes. Nothing here has a deadline of its own: callers put one around it.
    """

    kind = "libp2p"
    """Over what it goes, for people: `libp2p`, or `direct` for a connection of its own."""

    def __init__(self, remote: PeerId) -> None:
        self.remote = remote
        self.protocol = ""
        """What it was opened for; empty for the words that begin a stream on a connection of its own."""
        self.bytes_sent = 0
        self.bytes_received = 0

    def share_line(self, streams: int, bytes_per_s: float | None) -> None:  # noqa: B027 - most kinds have no say
        """Tells with how many streams in all this one shares the line to here, and how fast bytes have come on all of
        them of late, None where that is not known. Where the kind of stream allows it, no more are then on their way
        than keep the line busy."""

    def waits_for_line(self) -> bool:
        """Whether bytes that were written wait for a far line, and not for the other side; False where unknown."""
        return False

    async def read_exactly(self, size_bytes: int) -> bytes:
        """Reads `size_bytes` bytes. Raises StreamClosedError where the stream ends before."""
        data = bytearray(size_bytes)
        await self.read_into(memoryview(data))
        return bytes(data)

    @abstractmethod
    async def read_into(self, target: memoryview) -> None:
        """Fills `target`, bytes, completely. Raises StreamClosedError where the stream ends before.

        Where it raises, `target` may hold anything; a read that is cancelled loses nothing.
        """

    @abstractmethod
    async def write(self, data: Buffer) -> None:
        """Writes all of `data`, waiting while the other side does not keep up. Raises StreamClosedError.

        `data` may be used again when this returns. After a write that was cancelled the stream is of no more use.
        """

    @abstractmethod
    async def wait_for_end(self) -> None:
        """Until the other side has ended the stream. What it still writes before that is dropped."""

    @abstractmethod
    async def close(self) -> None:
        """Ends the stream, once the last bytes that were expected on it have been read; never raises.

        Whoever reads last closes: what the other side has not read when this one ends the stream may never reach it.
        """

    @abstractmethod
    def abort(self) -> None:
        """Ends the stream at once; the other side sees StreamClosedError. May be called twice."""


StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]


class Directory(ABC):
    """A shared key-value store in which entries expire: a hint about who is there, never truth."""

    @abstractmethod
    async def put(self, key: str, subkey: str, value: bytes, *, lifetime_s: float) -> bool:
        """Stores `value` (at most 1 KiB) for `lifetime_s` seconds; says whether at least one node took it."""

    @abstractmethod
    async def get(self, key: str) -> dict[str, bytes]:
        """All live subkeys of `key`, bounded in number and size before they are decoded. Empty where none is known."""


class Transport(ABC):
    """One peer's access to the network, under one identity."""

    peer_id: PeerId
    addresses: tuple[str, ...]
    """Multiaddrs with `/p2p/ID` under which others may reach this peer."""
    directory: Directory
    clock: Clock
    upload_bytes_per_s: float = math.inf
    """Most bytes a second that all streams send together, by the wish of the own user."""

    @abstractmethod
    async def connect(self, address: str) -> PeerId:
        """Dials a multiaddr that ends in `/p2p/ID` and proves that this peer lives there.

        Raises UnreachableError, with the reason as its text.
        """

    async def reach(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Connects to a peer that may live at any of `addresses`, or not any more. Raises UnreachableError.

        May be called again and again for the same peer: failures do not make later calls slower or fail.
        """
        failures = []
        for address in addresses:
            try:
                if await self.connect(address) == peer:
                    return
            except UnreachableError as error:
                failures.append(str(error))
        raise UnreachableError("; ".join(failures) or f"no address of the peer {peer} is known")

    @abstractmethod
    async def bootstrap(self, peers: Sequence[PeerId]) -> None:
        """Joins the directory of the given connected peers. Peers without a directory are passed over."""

    @abstractmethod
    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Notes where `peer` may be dialled when a stream to it is opened later. Later notes replace earlier ones."""

    @abstractmethod
    async def open_stream(self, peer: PeerId, protocol: str, *, bulk_bytes: int = 0) -> Stream:
        """Opens a stream, dialling the peer first where needed. Raises UnreachableError.

        bulk_bytes: about how many bytes it is for; where they are many, it may take longer to open and be fast then.
        """

    async def prepare(self, peer: PeerId, *, bulk_bytes: int) -> None:  # noqa: B027 - most have nothing to prepare
        """Does beforehand what makes opening a stream for so many bytes take long. Raises UnreachableError."""

    @abstractmethod
    async def serve(self, protocol: str, handler: StreamHandler) -> None:
        """From now on runs `handler` in a task of its own for each stream that a peer opens on `protocol`.

        The handler writes last and the opener reads last: when the handler returns, the stream is kept until the
        opener ends it, for at most `handlers.LINGER_S` seconds. It is aborted when the handler raises.
        """

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """A signature of `data` under this peer's identity."""

    @abstractmethod
    def verify(self, peer: PeerId, data: bytes, signature: bytes) -> bool:
        """Whether `signature` over `data` was made under the identity of `peer`."""

    @abstractmethod
    async def close(self) -> None:
        """Ends all streams and handlers, and every process started for this transport."""
