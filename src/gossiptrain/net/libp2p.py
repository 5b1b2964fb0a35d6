"""The real network: libp2p through hivemind's daemon, with hivemind's DHT as the directory.

The only room that imports hivemind. Owns what is said to the daemon and what is taken from the DHT. Does not know what
peers say to each other. Used of hivemind 1.1: the daemon itself, its control messages, `P2P` attached to a daemon that
is running already, and `DHTNode`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import AddressError, NodeFailedError
from gossiptrain.net.addresses import parse_announce_address, parse_dial_address, parse_listen_address
from gossiptrain.net.clock import Clock
from gossiptrain.net.daemon import Daemon, PrivateFolder
from gossiptrain.net.daemon_words import TOO_SOON, UNKNOWN_PROTOCOL, plain_reason
from gossiptrain.net.directory import MAX_LIFETIME_S, MAX_SUBKEYS, check_entry
from gossiptrain.net.directory_codec import CLOCK_TOLERANCE_S, decode_record, is_acceptable
from gossiptrain.net.handlers import HandlerTasks, answer
from gossiptrain.net.hivemind_parts import networking_parts
from gossiptrain.net.identity import Identity, is_peer_id, verify
from gossiptrain.net.libp2p_stream import READ_BUFFER_BYTES, Libp2pStream
from gossiptrain.net.listener import UnixListener
from gossiptrain.net.ports import check_listenable, check_listening
from gossiptrain.net.task_family import TaskFamily
from gossiptrain.net.transport import Directory, PeerId, Stream, StreamHandler, Transport, UnreachableError

with networking_parts():
    from hivemind.dht.node import DHTNode
    from hivemind.dht.protocol import DHTProtocol
    from hivemind.dht.storage import DHTLocalStorage, DictionaryDHTValue
    from hivemind.dht.validation import DHTRecord, RecordValidatorBase
    from hivemind.p2p import P2P
    from hivemind.p2p.p2p_daemon_bindings.datastructures import PeerID
    from hivemind.p2p.p2p_daemon_bindings.utils import read_pbmsg_safe, write_pbmsg
    from hivemind.proto import p2pd_pb2
    from hivemind.utils.logging import use_hivemind_log_handler
    from hivemind.utils.multiaddr import Multiaddr
    from hivemind.utils.serializer import MSGPackSerializer
    from hivemind.utils.timed_storage import get_dht_time

if not os.environ.get("GOSSIPTRAIN_DEBUG"):
    use_hivemind_log_handler("nowhere")
    logging.getLogger("hivemind").setLevel(logging.CRITICAL)

START_TIMEOUT_S = 30.0
_CONTROL_SOCKET = "daemon.sock"
_LISTEN_SOCKET = "streams.sock"
_KEY_FILE = "identity"
_DIRECTORY_TIMEOUT_S = 10.0
_MAX_DIRECTORY_KEYS = 4096


class BoundedSerializer(MSGPackSerializer):  # type: ignore[misc]
    """hivemind's serializer of records, with a decoder that refuses what is too large, too deep or of another kind."""

    @classmethod
    def loads(cls, buf: bytes) -> object:
        """Decodes one record. Raises RecordError."""
        decoded = decode_record(buf)
        if not isinstance(decoded, tuple):
            return decoded
        dictionary = DictionaryDHTValue(MAX_SUBKEYS)
        now_s = get_dht_time()
        for entry in decoded:
            if now_s < entry.expires_at_s <= now_s + MAX_LIFETIME_S + CLOCK_TOLERANCE_S:
                dictionary.store(entry.subkey, entry.value, entry.expires_at_s)
        return dictionary


# All that the DHT decodes passes through this attribute; the class's own dictionaries are decoded above, not by it.
DHTProtocol.serializer = BoundedSerializer


class _EntryValidator(RecordValidatorBase):  # type: ignore[misc]
    """Lets only entries within the limits into the DHT, ours and others'."""

    def validate(self, record: DHTRecord) -> bool:
        return is_acceptable(record.subkey, record.value, expires_at_s=record.expiration_time, now_s=get_dht_time())


class _BoundedStorage(DHTLocalStorage):  # type: ignore[misc]
    """What this node keeps for others: so many keys, so many entries each; those that expire first make room."""

    def __init__(self) -> None:
        super().__init__(maxsize=_MAX_DIRECTORY_KEYS)

    def store_subkey(self, key: Any, subkey: Any, value: bytes, expiration_time: float) -> bool:
        if self.get(key) is None:
            dictionary = DictionaryDHTValue(MAX_SUBKEYS)
            dictionary.store(subkey, value, expiration_time)
            return bool(self.store(key, dictionary, expiration_time))
        return bool(super().store_subkey(key, subkey, value, expiration_time))


class Libp2pDirectory(Directory):
    """hivemind's DHT: every peer keeps a part of it."""

    def __init__(self, node: DHTNode, *, tasks: TaskFamily, daemon: Daemon) -> None:
        self._node = node
        self._tasks = tasks
        self._daemon = daemon

    async def put(self, key: str, subkey: str, value: bytes, *, lifetime_s: float) -> bool:
        check_entry(key, subkey, value=value, lifetime_s=lifetime_s)
        if self._daemon.exited.is_set():
            return False
        try:
            with self._tasks.adopting():
                async with asyncio.timeout(_DIRECTORY_TIMEOUT_S):
                    expires_at_s = get_dht_time() + lifetime_s
                    return bool(await self._node.store(key, bytes(value), expires_at_s, subkey=subkey))
        except TimeoutError:
            return False

    async def get(self, key: str) -> dict[str, bytes]:
        if self._daemon.exited.is_set():
            return {}
        try:
            with self._tasks.adopting():
                async with asyncio.timeout(_DIRECTORY_TIMEOUT_S):
                    found = await self._node.get(key, latest=True)
        except TimeoutError:
            return {}
        entries = found.value if found is not None else None
        if not isinstance(entries, dict):
            return {}
        now_s = get_dht_time()
        return {subkey: bytes(value) for subkey, (value, expires_at_s) in entries.items() if expires_at_s > now_s}

    async def join(self, peers: Sequence[PeerId]) -> None:
        """Makes this node known to those of `peers` that have a directory, and looks around from there."""
        if self._daemon.exited.is_set():
            return
        with self._tasks.adopting():
            if any(await asyncio.gather(*(self._greet(PeerID.from_base58(peer)) for peer in peers))):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_DIRECTORY_TIMEOUT_S):
                        await self._node.find_nearest_nodes([self._node.node_id])

    async def _greet(self, peer: PeerID) -> bool:
        # Clocks are not compared: whoever has a wrong one may join all the same.
        node_id = await self._node.protocol.call_ping(peer, validate=False, strict=False)
        if node_id is None:
            return False
        await self._node.protocol.update_routing_table(node_id, peer, responded=True)
        return True


class _Control:
    """Questions to the daemon, each on a connection of its own to its control socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def ask(self, request: p2pd_pb2.Request) -> p2pd_pb2.Response:
        """Asks one question. Raises UnreachableError with the daemon's reason where it refuses."""
        _, writer, response = await self.converse(request)
        writer.transport.abort()
        return response

    async def converse(
        self, request: p2pd_pb2.Request
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, p2pd_pb2.Response]:
        """As `ask`, and leaves the connection open. Raises UnreachableError."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=READ_BUFFER_BYTES)
        except OSError as error:
            raise UnreachableError("libp2p's daemon has ended") from error
        try:
            await write_pbmsg(writer, request)
            response = p2pd_pb2.Response()
            await read_pbmsg_safe(reader, response)
        except (OSError, asyncio.IncompleteReadError) as error:
            writer.transport.abort()
            raise UnreachableError("libp2p's daemon has ended") from error
        except BaseException:
            writer.transport.abort()
            raise
        if response.type == p2pd_pb2.Response.ERROR:
            writer.transport.abort()
            raise UnreachableError(plain_reason(response.error.msg))
        return reader, writer, response


class Libp2pTransport(Transport):
    """One peer on the real network. Made by `start`, in the event loop in which it is used."""

    directory: Libp2pDirectory

    def __init__(self, identity: Identity, *, daemon: Daemon, folder: PrivateFolder) -> None:
        self.peer_id = identity.peer_id
        self.addresses = ()
        self.clock = Clock()
        self._identity = identity
        self._daemon = daemon
        self._folder = folder
        self._control = _Control(folder.path / _CONTROL_SOCKET)
        self._tasks = TaskFamily()
        self._handlers = HandlerTasks()
        self._streams: dict[Libp2pStream, None] = {}
        self._protocols: dict[str, StreamHandler] = {}
        self._known: dict[PeerId, tuple[str, ...]] = {}
        self._undialled: set[PeerId] = set()
        self._last_failures: dict[str, str] = {}
        self._listener: UnixListener | None = None
        self._p2p: P2P | None = None

    @classmethod
    async def start(cls, network: NetworkSettings, identity: Identity) -> Libp2pTransport:
        """Starts the daemon and listens at `network.host_maddrs`. Nobody is dialled yet.

        Raises AddressError, PortInUseError, NodeFailedError. The event loop's thread must live as long as the daemon.
        """
        asked = [parse_listen_address(text) for text in network.host_maddrs]
        for text in network.announce_maddrs:
            parse_announce_address(text)
        for address in asked:
            check_listenable(address)
        folder = PrivateFolder()
        try:
            daemon = await _start_daemon(network, identity, folder=folder.path)
        except BaseException:
            folder.remove()
            raise
        transport = cls(identity, daemon=daemon, folder=folder)
        try:
            await transport._attach()
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

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
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
            self._listener = UnixListener(self._folder.path / _LISTEN_SOCKET, on_connection=self._accept)
            with self._tasks.adopting():
                self._p2p = await P2P.replicate(Multiaddr(f"/unix{self._folder.path / _CONTROL_SOCKET}"))
                node = await DHTNode.create(
                    p2p=self._p2p,
                    record_validator=_EntryValidator(),
                    # A cache would only hand on what others claim, for as long as they claim.
                    cache_locally=False,
                    cache_nearest=0,
                    cache_on_store=False,
                    cache_refresh_before_expiry=0,
                    reuse_get_requests=False,
                    backoff_rate=1.0,  # a node that did not answer is asked again after 5 s, however often it failed
                )
            node.protocol.storage, node.protocol.cache = _BoundedStorage(), _BoundedStorage()
            self.directory = Libp2pDirectory(node, tasks=self._tasks, daemon=self._daemon)

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
        reader, writer, _ = await self._control.converse(
            p2pd_pb2.Request(type=p2pd_pb2.Request.STREAM_OPEN, streamOpen=request)
        )
        return Libp2pStream(peer, self._streams, reader=reader, writer=writer)

    def _accept(self, connection: socket.socket) -> None:
        self._handlers.start(self._answer(connection), name="handler of a stream", release=connection.close)

    async def _answer(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=READ_BUFFER_BYTES)
        try:
            await self._answer_stream(reader, writer)
        finally:
            writer.transport.abort()  # does nothing after an orderly close

    async def _answer_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = p2pd_pb2.StreamInfo()
        with contextlib.suppress(asyncio.IncompleteReadError):
            await read_pbmsg_safe(reader, info)
        if info.proto not in self._protocols:
            return  # the daemon, or its peer, went away before a word was said
        remote = PeerId(PeerID(info.peer).to_base58())
        stream = Libp2pStream(remote, self._streams, reader=reader, writer=writer)
        await answer(self._protocols[info.proto], stream)


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
