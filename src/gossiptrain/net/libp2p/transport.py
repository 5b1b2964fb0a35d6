"""The real network: libp2p through hivemind's daemon, with hivemind's DHT as the directory.

Owns the life of one peer on the network: its daemon, its connections and its streams. Used of hivemind 1.1: the daemon
itself, its control messages, `P2P` attached to a daemon that is running already, and `DHTNode`. Does not know what
peers say to each other.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import ASK_THE_DOCTOR, NodeFailedError
from gossiptrain.net.addresses import Address, parse_announce_address, parse_listen_address, readable_addresses
from gossiptrain.net.direct.connections import DirectConnections
from gossiptrain.net.direct.messages import SeenAt
from gossiptrain.net.direct.negotiation import Sight
from gossiptrain.net.direct.path_choice import PathChoice
from gossiptrain.net.handlers import HandlerTasks, StreamLimits, answer
from gossiptrain.net.identity import Identity, verify
from gossiptrain.net.libp2p.daemon import Daemon, PrivateFolder
from gossiptrain.net.libp2p.daemon_control import DaemonControl, read_protobuf
from gossiptrain.net.libp2p.dial_back import DialBack
from gossiptrain.net.libp2p.dialling import Libp2pDialler
from gossiptrain.net.libp2p.directory import BoundedStorage, EntryValidator, Libp2pDirectory, prepare_hivemind
from gossiptrain.net.libp2p.hivemind_names import P2P, DHTNode, Multiaddr, PeerID, p2pd_pb2
from gossiptrain.net.libp2p.libp2p_daemon import (
    CONTROL_SOCKET,
    LISTEN_SOCKET,
    START_TIMEOUT_S,
    carries,
    start_daemon,
)
from gossiptrain.net.libp2p.packed_address import readable_texts
from gossiptrain.net.libp2p.reaching import reach
from gossiptrain.net.libp2p.relay_places import RelayPlaces, relays_in
from gossiptrain.net.libp2p.strangers import Strangers, resident_bytes
from gossiptrain.net.libp2p.stream import Libp2pStream, host_of
from gossiptrain.net.libp2p.whereabouts import Whereabouts
from gossiptrain.net.listener import IpAddress, StreamListener, listening_unix_socket
from gossiptrain.net.ports import check_listenable, check_listening
from gossiptrain.net.silent_process import SilentProcess
from gossiptrain.net.task_tracker import TaskTracker
from gossiptrain.net.transport import Clock, PeerId, Stream, StreamHandler, Transport, UnreachableError
from gossiptrain.net.upload_limit import UploadLimit
from gossiptrain.net.wire import Wire

_logger = logging.getLogger(__package__)
RELAY_WAIT_S = 3.0
"""Longest time for which the start of a peer waits for initial peers that could carry for it."""


class Libp2pTransport(Transport):
    """One peer on the real network. Made by `start`, in the event loop in which it is used."""

    directory: Libp2pDirectory

    def __init__(self, network: NetworkSettings, identity: Identity, *, daemon: Daemon, folder: PrivateFolder) -> None:
        self.peer_id = identity.peer_id
        self.addresses = ()
        self.clock = Clock()
        self._identity = identity
        self._daemon = daemon
        self._folder = folder
        self._control = DaemonControl(folder.path / CONTROL_SOCKET)
        self._dialler = Libp2pDialler(self._control, self.clock)
        self._tasks = TaskTracker()
        self._handlers = HandlerTasks()
        self._limits = StreamLimits()
        self._streams: dict[Stream, None] = {}
        self._upload = UploadLimit(self.clock, mbit_per_s=network.upload_limit)
        self.upload_bytes_per_s = self._upload.bytes_per_s
        self._protocols: dict[str, StreamHandler] = {}
        initial_peers = readable_addresses(network.initial_peers)
        named = {address.peer for address in initial_peers if address.peer is not None}
        self.dial_back = DialBack(self, host_of)
        self.places = RelayPlaces(self.peer_id, self.clock, self._open_to_relay, wanted=carries(network))
        self._whereabouts = Whereabouts(self, self._control, trusted=named)
        self._direct = DirectConnections(
            self,
            handler_of=self._protocols.get,
            sight=Sight(host_of, self._whereabouts.of),
            limits=self._limits,
            upload=self._upload,
        )
        self._path_choice = PathChoice(self._direct, network.direct, self.clock)
        self._listener: StreamListener | None = None
        self._p2p: P2P | None = None
        self._upkeep: list[asyncio.Task[None]] = []
        self._named = frozenset(named)

    @classmethod
    async def start(cls, network: NetworkSettings, identity: Identity, *, helper: bool = False) -> Libp2pTransport:
        """Starts the daemon and listens at `network.host_maddrs`. Nobody is dialled yet, but for a place at relays.

        helper: whether this peer has nothing else to do than to carry for others.
        Raises AddressError, PortInUseError, NodeFailedError. The event loop's thread must live as long as the daemon.
        """
        asked = [parse_listen_address(text) for text in network.host_maddrs]
        for text in network.announce_maddrs:
            parse_announce_address(text)
        direct_addresses = [f"/ip{ip.version}/{ip}/tcp/{network.direct_port}" for ip in _hosts(asked)]
        for address in (*asked, *map(parse_listen_address, direct_addresses)):
            check_listenable(address)
        prepare_hivemind()
        folder = PrivateFolder()
        try:
            daemon = await start_daemon(network, identity, folder=folder.path, helper=helper)
        except BaseException:
            folder.remove()
            raise
        transport = cls(network, identity, daemon=daemon, folder=folder)
        try:
            await transport._attach()
            await transport.dial_back.serve()
            if carries(network):
                await transport._whereabouts.serve()
                await transport._take_places(network)
            hosts = [] if network.direct == "libp2p" else _hosts(asked)
            await transport._direct.open_for_others(hosts, network.direct_port)
            if not network.announce_maddrs:
                check_listening(asked, transport.addresses)
        except BaseException as error:
            await transport.close()
            if isinstance(error, UnreachableError):
                what = "libp2p's daemon p2pd started and does not answer."
                raise NodeFailedError(what, cause=str(error), remedy=ASK_THE_DOCTOR) from error
            raise
        return transport

    @property
    def daemon_pid(self) -> int:
        """Process id of the daemon."""
        return self._daemon.process.pid

    @property
    def paths_used(self) -> dict[PeerId, str]:
        """By peer, over what the last bulk stream to it was opened: `direct` or `libp2p`."""
        return dict(self._path_choice.last_used)

    @property
    def private_folder(self) -> Path:
        """Where the daemon's sockets are. It is removed by `close`, or after a kill by the next start of any peer."""
        return self._folder.path

    @property
    def daemon_exited(self) -> asyncio.Event:
        """Set when the daemon has ended, whatever the reason. Nothing works from then on; start another transport."""
        return self._daemon.exited

    async def daemon_alive(self, timeout_s: float) -> bool:
        """Whether the daemon answers before `SilentProcess`, with a patience of `timeout_s`, gives it up."""
        silent = SilentProcess(self.daemon_pid, patience_s=timeout_s)
        asking = asyncio.create_task(self.refresh_addresses(), name="question to libp2p's daemon")
        try:
            while not silent.is_given_up():
                await asyncio.wait([asking], timeout=timeout_s / 4)
                if asking.done():
                    asking.result()
                    return True
        except UnreachableError:
            return False
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)  # lest nobody hears what it failed with
        return False

    async def refresh_addresses(self) -> None:
        """Asks the daemon anew under which `addresses` others may reach this peer. Raises UnreachableError."""
        response = await self._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.IDENTIFY))
        found = [f"{text}/p2p/{self.peer_id}" for text in readable_texts(response.identify.addrs)]
        self.addresses = tuple(dict.fromkeys((*found, *self.places.addresses)))

    async def can_be_dialled_by(self, peer: PeerId) -> bool | None:
        """Whether a connected peer, asked to, reaches this node's port for direct connections; None: nobody can tell.

        Raises UnreachableError, StreamClosedError, ProtocolViolationError, TimeoutError.
        """
        return await self._direct.can_be_dialled_by(peer)

    async def seen_by(self, peer: PeerId) -> SeenAt | None:
        """From where a connected relay sees this peer call; None where it says nothing. Raises as above."""
        return await self._whereabouts.own(peer)

    def bound_strangers(self, is_member: Callable[[PeerId], bool]) -> None:
        """From now on ends connections of strangers where they are too many, or take too much memory.

        is_member: who is none, besides those whom the user has named and the relays that carry for this peer.
        """

        def is_known(peer: PeerId) -> bool:
            return peer in self._named or peer in self.places.held or is_member(peer)

        def memory_bytes() -> int:
            return resident_bytes(self.daemon_pid)

        strangers = Strangers(self._control, self.clock, is_known=is_known, memory_bytes=memory_bytes)
        self._upkeep.append(asyncio.create_task(strangers.run(), name="look at strangers"))

    async def connect(self, address: str) -> PeerId:
        return await self._dialler.connect(address)

    async def reach(self, peer: PeerId, addresses: Sequence[str]) -> None:
        await reach(self._control, peer, addresses)

    async def bootstrap(self, peers: Sequence[PeerId]) -> None:
        await self.directory.join(peers)

    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        self._dialler.remember(peer, addresses)

    async def open_stream(self, peer: PeerId, protocol: str, *, bulk_bytes: int = 0) -> Stream:
        def over_daemon() -> Awaitable[Stream]:
            return self._open_over_daemon(peer, protocol)

        if not bulk_bytes:
            return await over_daemon()
        return await self._path_choice.open(peer, protocol, bulk_bytes=bulk_bytes, over_libp2p=over_daemon)

    async def prepare(self, peer: PeerId, *, bulk_bytes: int) -> None:
        await self._path_choice.prepare(peer, bulk_bytes=bulk_bytes)

    async def serve(self, protocol: str, handler: StreamHandler) -> None:
        known = protocol in self._protocols
        self._protocols[protocol] = handler
        if not known:
            listener = Multiaddr(f"/unix{self._folder.path / LISTEN_SOCKET}")
            registration = p2pd_pb2.StreamHandlerRequest(addr=listener.to_bytes(), proto=[protocol], balanced=False)
            await self._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.STREAM_HANDLER, streamHandler=registration))

    def sign(self, data: bytes) -> bytes:
        return self._identity.sign(data)

    def verify(self, peer: PeerId, data: bytes, signature: bytes) -> bool:
        return verify(peer, data, signature)

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for stream in tuple(self._streams):
            stream.abort()
        for task in self._upkeep:
            task.cancel()
        await asyncio.gather(*self._upkeep, return_exceptions=True)
        try:
            await self._direct.close()
            await self._handlers.close()
            await self._tasks.close()
            if self._p2p is not None:
                await self._p2p.shutdown()
        finally:
            await self._daemon.close()
            self._folder.remove()

    async def _attach(self) -> None:
        """Opens this side's socket for streams from others, and takes up the directory. Raises UnreachableError."""
        async with asyncio.timeout(START_TIMEOUT_S):
            await self.refresh_addresses()
            listening = listening_unix_socket(self._folder.path / LISTEN_SOCKET)
            self._listener = StreamListener(listening, on_connection=self._accept)
            with self._tasks.tracking():
                self._p2p = await P2P.replicate(Multiaddr(f"/unix{self._folder.path / CONTROL_SOCKET}"))
                node = await DHTNode.create(
                    p2p=self._p2p,
                    record_validator=EntryValidator(),
                    # A cache would only hand on what others claim, for as long as they claim.
                    cache_locally=False,
                    cache_nearest=0,
                    cache_on_store=False,
                    cache_refresh_before_expiry=0,
                    reuse_get_requests=False,
                    backoff_rate=1.0,  # a node that did not answer is asked again after 5 s, however often it failed
                )
            node.protocol.storage, node.protocol.cache = BoundedStorage(), BoundedStorage()
            self.directory = Libp2pDirectory(node, tasks=self._tasks, daemon=self._daemon)

    async def _take_places(self, network: NetworkSettings) -> None:
        """At initial peers that could carry, so that this peer is reachable there from the first word that it says."""
        self.places.relays = relays_in(network.initial_peers, anywhere=network.relay is True)
        if self.places.relays:
            named = [address for addresses in self.places.relays.values() for address in addresses]
            dials = [asyncio.create_task(self.connect(address)) for address in named]
            await asyncio.wait(dials, timeout=RELAY_WAIT_S)
            for dial in dials:
                dial.cancel()
            await asyncio.gather(*dials, return_exceptions=True)
            await self.places.refresh()
            await self.refresh_addresses()
        self._upkeep.append(asyncio.create_task(self.places.run(), name="places at relays"))

    async def _open_over_daemon(self, peer: PeerId, protocol: str) -> Stream:
        wire, place = await self._dialler.open(peer, protocol)
        stream = Libp2pStream(peer, self._streams, wire=wire, packed_address=place, upload=self._upload)
        stream.protocol = protocol
        return stream

    async def _open_to_relay(self, relay: PeerId, protocol: str) -> Stream:
        """Also to one that has ended and is there again, which the daemon would not try for minutes."""
        await self.reach(relay, self.places.relays.get(relay, ()))
        return await self._open_over_daemon(relay, protocol)

    def _accept(self, connection: socket.socket) -> None:
        self._handlers.start(self._answer(connection), name="handler of a stream", release=connection.close)

    async def _answer(self, connection: socket.socket) -> None:
        wire = Wire(connection)
        try:
            info = await read_protobuf(wire, p2pd_pb2.StreamInfo)
            if info.proto in self._protocols:
                peer = PeerId(PeerID(info.peer).to_base58())
                stream = Libp2pStream(peer, self._streams, wire=wire, packed_address=info.addr, upload=self._upload)
                stream.protocol = info.proto
                await answer(self._protocols[info.proto], stream, self._limits)
        finally:
            wire.end()


def _hosts(listening: Sequence[Address]) -> list[IpAddress]:
    return [address.ip for address in listening if address.ip is not None]
