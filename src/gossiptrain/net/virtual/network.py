"""A network in memory, for virtual time: peers, streams, a directory, and the faults that real networks have.

Owns who can reach whom. Everything that happens follows from the calls made and the seed. Does not know what peers say
to each other. The wires are in `virtual.wires`, the clock in `virtual.time`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gossiptrain.core.recent import Recent
from gossiptrain.net.handlers import HandlerTasks, StreamLimits, answer
from gossiptrain.net.transport import (
    MAX_SUBKEYS,
    Clock,
    Directory,
    PeerId,
    Stream,
    StreamHandler,
    Transport,
    UnreachableError,
    check_entry,
)
from gossiptrain.net.virtual.directory import Entry, VirtualEntries
from gossiptrain.net.virtual.stream import Pipe, VirtualStream
from gossiptrain.net.virtual.wires import LinkSettings, Wires

ResultT = TypeVar("ResultT")


DIRECTORY = "directory"
"""The name under which the directory hangs on the wires: `cut(peer, DIRECTORY)` takes it from one peer."""
MAX_KEYED = 4096
"""Peers whose key for signatures is kept."""


class VirtualNetwork(Wires):
    """All peers of one network in memory, and its faults. Peers are named by their ids, any short strings.

    Latency is one way. `bandwidth_bytes_per_s` is that of each link, in each direction; None: no limit. A writer waits
    when `buffer_bytes` bytes are on their way or not yet read.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        latency_s: float = 0.001,
        jitter_s: float = 0.0,
        bandwidth_bytes_per_s: float | None = None,
        buffer_bytes: int = 256 << 10,
    ) -> None:
        super().__init__(seed, default=LinkSettings(latency_s, jitter_s, bandwidth_bytes_per_s))
        self.buffer_bytes = buffer_bytes
        self.entries = VirtualEntries()
        self._peers: dict[str, VirtualTransport] = {}
        self._keyed: Recent[str, hashlib.blake2b] = Recent(MAX_KEYED)

    def cut(self, source: str, target: str, *, both_ways: bool = True) -> None:
        super().cut(source, target, both_ways=both_ways)
        if both_ways:
            self.entries.part(source, target)

    def transport(self, peer: str) -> VirtualTransport:
        """Starts the peer, or starts it again after a crash or an end, under the same identity."""
        if not peer or "/" in peer or peer == DIRECTORY:
            raise ValueError(f"{peer!r} cannot be the name of a peer")
        if peer in self._peers:
            raise ValueError(f"the peer {peer!r} is running already")
        self._peers[peer] = VirtualTransport(self, PeerId(peer))
        return self._peers[peer]

    def running(self) -> list[str]:
        """The names of all peers that run, in the order in which they were started."""
        return list(self._peers)

    def find(self, peer: str) -> VirtualTransport:
        """The running transport of `peer`. Raises UnreachableError."""
        if peer not in self._peers:
            raise UnreachableError(f"connection refused: the peer {peer!r} is not running")
        return self._peers[peer]

    def keyed(self, peer: str) -> hashlib.blake2b:
        """The hash by which that peer signs, before the first byte."""
        if peer not in self._keyed:
            secret = hashlib.blake2b(f"{self.seed}/{peer}".encode(), digest_size=32).digest()
            self._keyed[peer] = hashlib.blake2b(key=secret, digest_size=32)
        return self._keyed[peer]

    def crash(self, peer: str) -> None:
        """Kills `peer`: its streams are reset, its handlers cancelled; all it still tries fails."""
        self.thaw(peer)
        self.find(peer).end()

    def forget(self, peer: PeerId) -> None:
        """Takes an ended peer off the network."""
        del self._peers[peer]
        for other in self._peers.values():
            other.connected.pop(peer, None)


class VirtualTransport(Transport):
    """One peer of a `VirtualNetwork`."""

    def __init__(self, network: VirtualNetwork, peer_id: PeerId) -> None:
        self.peer_id = peer_id
        self.addresses = (f"/memory/{peer_id}/p2p/{peer_id}",)
        self.directory = VirtualDirectory(network, self)
        self.clock = Clock()
        self.connected: dict[PeerId, None] = {}
        self._streams: dict[VirtualStream, None] = {}
        self._network = network
        self._running = True
        self._known: dict[PeerId, tuple[str, ...]] = {}
        self._protocols: dict[str, StreamHandler] = {}
        self._handlers = HandlerTasks()
        self._limits = StreamLimits()
        self._asking: dict[asyncio.Future[Any], None] = {}

    async def connect(self, address: str) -> PeerId:
        host, peer = _parse_address(address)

        def meet() -> None:
            remote = self._network.find(host)
            if remote.peer_id != peer:
                raise UnreachableError(f"another peer lives at {address}: its id is {remote.peer_id}")
            for one, other in ((self, remote), (remote, self)):
                one.connected[other.peer_id] = None
                one._known.setdefault(other.peer_id, other.addresses)

        await self.ask(host, meet)
        return peer

    async def bootstrap(self, peers: Sequence[PeerId]) -> None:
        """All peers share one directory from the start; after a cut they have to be made known to each other again."""
        for peer in peers:
            if self._network.entries.are_parted(self.peer_id, peer):
                with contextlib.suppress(UnreachableError):
                    await self.ask(peer, functools.partial(self._network.entries.join, self.peer_id, peer))

    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        self._known[peer] = tuple(addresses)

    async def open_stream(self, peer: PeerId, protocol: str, *, bulk_bytes: int = 0) -> Stream:
        if peer not in self.connected:
            await self._dial(peer)
        return await self.ask(peer, lambda: self._network.find(peer).accept(self, protocol), undo=VirtualStream.abort)

    async def serve(self, protocol: str, handler: StreamHandler) -> None:
        self._protocols[protocol] = handler

    def accept(self, caller: VirtualTransport, protocol: str) -> VirtualStream:
        """Starts the handler of `protocol` on a new stream and returns the caller's end. Raises UnreachableError."""
        if protocol not in self._protocols:
            raise UnreachableError(f"the peer {self.peer_id} does not speak {protocol}")
        network = self._network
        there = Pipe(network.link(caller.peer_id, self.peer_id), network.buffer_bytes)
        back = Pipe(network.link(self.peer_id, caller.peer_id), network.buffer_bytes)
        mine = VirtualStream(caller.peer_id, self._streams, incoming=there, outgoing=back)
        theirs = VirtualStream(self.peer_id, caller._streams, incoming=back, outgoing=there)
        mine.protocol = theirs.protocol = protocol
        answering = answer(self._protocols[protocol], mine, self._limits)
        self._handlers.start(answering, name=f"handler of {protocol}", release=mine.abort)
        return theirs

    def sign(self, data: bytes) -> bytes:
        return self._signature(self.peer_id, data)

    def verify(self, peer: PeerId, data: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self._signature(peer, data), signature)

    async def close(self) -> None:
        self.end()
        await self._handlers.close()

    @property
    def open_streams(self) -> tuple[VirtualStream, ...]:
        """This peer's ends of all streams that are open."""
        return tuple(self._streams)

    def break_streams(self) -> int:
        """Resets all open streams, as where all connections break; the peer lives on. Returns how many there were."""
        streams = self.open_streams
        for stream in streams:
            stream.abort()
        return len(streams)

    def end(self) -> None:
        """Takes the peer off the network at once: streams are reset, handlers cancelled. May be called twice."""
        if not self._running:
            return
        self._running = False
        self._network.forget(self.peer_id)
        for stream in tuple(self._streams):
            stream.abort()
        for future in self._asking:
            if not future.done():
                future.set_exception(UnreachableError("this peer has left the network"))
        self._handlers.cancel()

    def _signature(self, peer: PeerId, data: bytes) -> bytes:
        signing = self._network.keyed(peer).copy()
        signing.update(data)
        return signing.digest()

    async def _dial(self, peer: PeerId) -> None:
        failures = []
        for address in self._known.get(peer, ()):
            try:
                await self.connect(address)
                return
            except UnreachableError as error:
                failures.append(str(error))
        raise UnreachableError("; ".join(failures) or f"no address of the peer {peer} is known")

    async def ask(
        self,
        target: str,
        answer: Callable[[], ResultT],
        *,
        undo: Callable[[ResultT], None] = lambda result: None,
    ) -> ResultT:
        """One round trip: `answer` runs when the question arrives. `undo` gets its result where nobody waits for it.

        Raises UnreachableError where `answer` does, or where this peer is not running any more.
        """
        if not self._running:
            raise UnreachableError("this peer has left the network")
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            back = self._network.link(target, self.peer_id)
            try:
                result = answer()
            except UnreachableError as error:
                back.send(0, functools.partial(_refuse, future, error))
            else:
                back.send(0, functools.partial(_settle, future, result, undo))

        self._asking[future] = None
        self._network.link(self.peer_id, target).send(0, arrive)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                undo(future.result())  # cancelled in the very moment in which the answer came
            raise
        finally:
            del self._asking[future]


class VirtualDirectory(Directory):
    """One peer's access to the directory of a network in memory."""

    def __init__(self, network: VirtualNetwork, owner: VirtualTransport) -> None:
        self._network = network
        self._owner = owner

    async def put(self, key: str, subkey: str, value: bytes, *, lifetime_s: float) -> bool:
        check_entry(key, subkey, value=value, lifetime_s=lifetime_s)

        def store() -> None:
            expires_at_s = self._owner.clock.now() + lifetime_s
            self._network.entries.store(key, subkey, Entry(self._owner.peer_id, bytes(value), expires_at_s))

        try:
            await self._owner.ask(DIRECTORY, store)
        except UnreachableError:
            return False
        return True

    async def get(self, key: str) -> dict[str, bytes]:
        def look_up() -> dict[str, bytes]:
            found = self._network.entries.find(key, self._owner.peer_id, now_s=self._owner.clock.now())
            return dict(list(found.items())[:MAX_SUBKEYS])

        try:
            return await self._owner.ask(DIRECTORY, look_up)
        except UnreachableError:
            return {}


def _refuse(future: asyncio.Future[Any], error: UnreachableError) -> None:
    if not future.done():
        future.set_exception(error)


def _settle(future: asyncio.Future[ResultT], result: ResultT, undo: Callable[[ResultT], None]) -> None:
    if future.done():
        undo(result)
    else:
        future.set_result(result)


def _parse_address(address: str) -> tuple[str, PeerId]:
    match address.split("/"):
        case ["", "memory", host, "p2p", peer]:
            return host, PeerId(peer)
    raise UnreachableError(f"{address!r} is not an address of the form /memory/NAME/p2p/ID")
