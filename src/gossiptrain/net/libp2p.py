"""The real network: libp2p through hivemind's daemon, with hivemind's DHT as the directory.

Owns the life of one peer on the network: its daemon, its connections and its streams. Used of hivemind 1.1: the daemon
itself, its control messages, `P2P` attached to a daemon that is running already, and `DHTNode`. Does not know what
peers say to each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import socket
from collections.abc import Sequence
from pathlib import Path

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import AddressError, NodeFailedError
from gossiptrain.net.addresses import Address, parse_announce_address, parse_dial_address, parse_listen_address
from gossiptrain.net.clock import Clock
from gossiptrain.net.daemon import Daemon, PrivateFolder
from gossiptrain.net.daemon_control import DaemonControl, read_protobuf
from gossiptrain.net.daemon_words import TOO_SOON, UNKNOWN_PROTOCOL
from gossiptrain.net.handlers import HandlerTasks, answer
from gossiptrain.net.hivemind_names import P2P, DHTNode, Multiaddr, PeerID, p2pd_pb2
from gossiptrain.net.identity import Identity, is_peer_id, verify
from gossiptrain.net.lane_choice import LaneChoice
from gossiptrain.net.lanes import LANE_WORTH_BYTES, IpAddress, Lanes
from gossiptrain.net.libp2p_directory import BoundedStorage, EntryValidator, Libp2pDirectory
from gossiptrain.net.libp2p_stream import Libp2pStream
from gossiptrain.net.listener import StreamListener, listening_unix_socket
from gossiptrain.net.ports import check_listenable, check_listening
from gossiptrain.net.task_family import TaskFamily
from gossiptrain.net.transport import PeerId, Stream, StreamHandler, Transport, UnreachableError
from gossiptrain.net.wire import Wire

START_TIMEOUT_S = 30.0
_CONTROL_SOCKET = "daemon.sock"
_LISTEN_SOCKET = "streams.sock"
_KEY_FILE = "identity"


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
        self._control = DaemonControl(folder.path / _CONTROL_SOCKET)
        self._tasks = TaskFamily()
        self._handlers = HandlerTasks()
        self._streams: dict[Stream, None] = {}
        self._protocols: dict[str, StreamHandler] = {}
        self._known: dict[PeerId, tuple[str, ...]] = {}
        self._undialled: set[PeerId] = set()
        self._last_failures: dict[str, str] = {}
        self._lanes = Lanes(self, handler_of=self._protocols.get)
        self._lane_choice = LaneChoice(self._lanes, network.lane, self.clock)
        self._listener: StreamListener | None = None
        self._p2p: P2P | None = None

    @classmethod
    async def start(cls, network: NetworkSettings, identity: Identity) -> Libp2pTransport:
        """Starts the daemon and listens at `network.host_maddrs`. Nobody is dialled yet.

        Raises AddressError, PortInUseError, NodeFailedError. The event loop's thread must live as long as the daemon.
        """
        asked = [parse_listen_address(text) for text in network.host_maddrs]
        for text in network.announce_maddrs:
            parse_announce_address(text)
        lane_places = [f"/ip{ip.version}/{ip}/tcp/{network.lane_port}" for ip in _hosts(asked)]
        for address in (*asked, *map(parse_listen_address, lane_places)):
            check_listenable(address)
        folder = PrivateFolder()
        try:
            daemon = await _start_daemon(network, identity, folder=folder.path)
        except BaseException:
            folder.remove()
            raise
        transport = cls(network, identity, daemon=daemon, folder=folder)
        try:
            await transport._attach()
            hosts = [] if network.lane == "libp2p" else _hosts(asked)
            await transport._lanes.open_for_others(hosts, network.lane_port)
            if not network.announce_maddrs:
                check_listening(asked, transport.addresses)
        except BaseException as error:
            await transport.close()
            if isinstance(error, UnreachableError):
                raise NodeFailedError("libp2p's daemon p2pd started and does not answer.", cause=str(error)) from error
            raise
        return transport

    @property
    def daemon_pid(self) -> int:
        """Process id of the daemon."""
        return self._daemon.process.pid

    @property
    def lanes_used(self) -> dict[PeerId, str]:
        """By peer, over what the last bulk stream to it was opened: `direct` or `libp2p`."""
        return dict(self._lane_choice.last_used)

    @property
    def private_folder(self) -> Path:
        """Where the daemon's sockets are. It is removed by `close`, or after a kill by the next start of any peer."""
        return self._folder.path

    @property
    def daemon_exited(self) -> asyncio.Event:
        """Set when the daemon has ended, whatever the reason. Nothing works from then on; start another transport."""
        return self._daemon.exited

    async def daemon_alive(self, timeout_s: float) -> bool:
        """Whether the daemon answers within `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.refresh_addresses()
        except (TimeoutError, UnreachableError):
            return False
        return True

    async def refresh_addresses(self) -> None:
        """Asks the daemon anew under which `addresses` others may reach this peer. Raises UnreachableError."""
        response = await self._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.IDENTIFY))
        found = [f"{Multiaddr(packed)}/p2p/{self.peer_id}" for packed in response.identify.addrs]
        self.addresses = tuple(dict.fromkeys(found))

    async def connect(self, address: str) -> PeerId:
        try:
            parsed = parse_dial_address(address)
        except AddressError as error:
            raise UnreachableError(error.what) from error
        assert parsed.peer is not None  # says parse_dial_address
        place = address.rstrip("/").rpartition("/p2p/")[0]
        try:
            await self._dial(parsed.peer, place)
        except UnreachableError as error:
            if str(error) == TOO_SOON:
                raise UnreachableError(self._last_failures.get(address, TOO_SOON)) from error
            self._last_failures[address] = str(error)
            raise
        self._last_failures.pop(address, None)
        return parsed.peer

    async def bootstrap(self, peers: Sequence[PeerId]) -> None:
        await self.directory.join(peers)

    def remember(self, peer: PeerId, addresses: Sequence[str]) -> None:
        self._known[peer] = tuple(addresses)
        self._undialled.add(peer)

    async def open_stream(self, peer: PeerId, protocol: str, *, bulk_bytes: int = 0) -> Stream:
        if bulk_bytes >= LANE_WORTH_BYTES:
            return await self._lane_choice.open(peer, protocol, lambda: self._open_over_daemon(peer, protocol))
        return await self._open_over_daemon(peer, protocol)

    async def serve(self, protocol: str, handler: StreamHandler) -> None:
        known = protocol in self._protocols
        self._protocols[protocol] = handler
        if not known:
            listener = Multiaddr(f"/unix{self._folder.path / _LISTEN_SOCKET}")
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
        try:
            await self._lanes.close()
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
            listening = listening_unix_socket(self._folder.path / _LISTEN_SOCKET)
            self._listener = StreamListener(listening, on_connection=self._accept)
            with self._tasks.adopting():
                self._p2p = await P2P.replicate(Multiaddr(f"/unix{self._folder.path / _CONTROL_SOCKET}"))
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

    async def _open_over_daemon(self, peer: PeerId, protocol: str) -> Stream:
        if peer in self._undialled:
            # What was noted is newer than what the daemon may know; where it fails, the daemon's own may still do.
            with contextlib.suppress(UnreachableError):
                await self._dial_known(peer)
            self._undialled.discard(peer)
        try:
            return await self._open(peer, protocol)
        except UnreachableError as refusal:
            if peer not in self._known or str(refusal) == UNKNOWN_PROTOCOL:
                raise
        await self._dial_known(peer)
        return await self._open(peer, protocol)

    async def _dial_known(self, peer: PeerId) -> None:
        failures = []
        for address in self._known[peer]:
            try:
                await self.connect(address)
                return
            except UnreachableError as error:
                failures.append(str(error))
        raise UnreachableError("; ".join(failures) or f"no address of the peer {peer} is known")

    async def _dial(self, peer: PeerId, place: str) -> None:
        request = p2pd_pb2.ConnectRequest(peer=PeerID.from_base58(peer).to_bytes(), addrs=[Multiaddr(place).to_bytes()])
        await self._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.CONNECT, connect=request))

    async def _open(self, peer: PeerId, protocol: str) -> Libp2pStream:
        if not is_peer_id(peer):
            raise UnreachableError("this is not the id of a peer")
        request = p2pd_pb2.StreamOpenRequest(peer=PeerID.from_base58(peer).to_bytes(), proto=[protocol])
        wire, _ = await self._control.converse(p2pd_pb2.Request(type=p2pd_pb2.Request.STREAM_OPEN, streamOpen=request))
        return Libp2pStream(peer, self._streams, wire=wire)

    def _accept(self, connection: socket.socket) -> None:
        self._handlers.start(self._answer(connection), name="handler of a stream", release=connection.close)

    async def _answer(self, connection: socket.socket) -> None:
        wire = Wire(connection)
        try:
            info = await read_protobuf(wire, p2pd_pb2.StreamInfo)
            if info.proto in self._protocols:
                stream = Libp2pStream(PeerId(PeerID(info.peer).to_base58()), self._streams, wire=wire)
                await answer(self._protocols[info.proto], stream)
        finally:
            wire.end()


def _hosts(listening: Sequence[Address]) -> list[IpAddress]:
    return [address.ip for address in listening if address.ip is not None]


async def _start_daemon(network: NetworkSettings, identity: Identity, *, folder: Path) -> Daemon:
    key_file = folder / _KEY_FILE
    key_file.touch(mode=0o600)
    try:
        key_file.write_bytes(identity.to_protobuf())
        with importlib.resources.as_file(importlib.resources.files("hivemind.hivemind_cli") / "p2pd") as binary:
            command = [str(binary), *daemon_options(network, folder=folder)]
            environment = {"GOLOG_LOG_LEVEL": "error"}
            return await Daemon.start(command, environment=environment, timeout_s=START_TIMEOUT_S)
    finally:
        key_file.unlink()


def daemon_options(network: NetworkSettings, *, folder: Path) -> list[str]:
    """The options of the daemon, whose key and sockets are in `folder`."""
    options = {
        "listen": f"/unix{folder / _CONTROL_SOCKET}",
        "id": folder / _KEY_FILE,
        "hostAddrs": ",".join(network.host_maddrs),
        "announceAddrs": ",".join(network.announce_maddrs),
        # Only with `relay` does a peer make itself reachable by, or carry bytes for, peers it does not know.
        "dht": int(network.relay),  # libp2p's own, in which it looks for relays
        "autoRelay": int(network.relay),
        "autonat": int(network.relay),
        "natPortMap": int(network.relay),
        "relayService": int(network.relay),
        "trustedRelays": ",".join(network.initial_peers) if network.relay else "",
        "connManager": 1,
        "idleTimeout": f"{START_TIMEOUT_S:g}s",
    }
    return [f"-{name}={value}" for name, value in options.items() if value != ""]
