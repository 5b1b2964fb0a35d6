"""The directory of the real network: hivemind's DHT, of which every peer keeps a part.

Owns what may be put into the DHT and what is taken from it: all of it bounded before it is decoded. Does not know
what the entries mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from gossiptrain.logs import debugging
from gossiptrain.net.libp2p.daemon import Daemon
from gossiptrain.net.libp2p.directory_codec import CLOCK_TOLERANCE_S, decode_record, is_acceptable
from gossiptrain.net.libp2p.hivemind_names import (
    DHTLocalStorage,
    DHTNode,
    DHTProtocol,
    DHTRecord,
    DictionaryDHTValue,
    MSGPackSerializer,
    P2PDaemonError,
    P2PHandlerError,
    PeerID,
    RecordValidatorBase,
    dht_pb2,
    get_dht_time,
    use_hivemind_log_handler,
)
from gossiptrain.net.task_tracker import TaskTracker
from gossiptrain.net.transport import MAX_LIFETIME_S, MAX_SUBKEYS, Directory, PeerId, check_entry

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


def prepare_hivemind() -> None:
    """Has hivemind decode within our bounds, and say what it says through our log. To be called before its DHT is used.

    Importing it changes nothing of hivemind, which another part of the program may use in its own way.
    """
    # All that the DHT decodes passes through this attribute; the class's own dictionaries are decoded above, not by it.
    DHTProtocol.serializer = BoundedSerializer
    use_hivemind_log_handler("nowhere")
    logging.getLogger("hivemind").setLevel(logging.DEBUG if debugging() else logging.CRITICAL)


class EntryValidator(RecordValidatorBase):  # type: ignore[misc]
    """Lets only entries within the limits into the DHT, ours and others'."""

    def validate(self, record: DHTRecord) -> bool:
        return is_acceptable(record.subkey, record.value, expires_at_s=record.expiration_time, now_s=get_dht_time())


class BoundedStorage(DHTLocalStorage):  # type: ignore[misc]
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

    def __init__(self, node: DHTNode, *, tasks: TaskTracker, daemon: Daemon) -> None:
        self._node = node
        self._tasks = tasks
        self._daemon = daemon

    async def put(self, key: str, subkey: str, value: bytes, *, lifetime_s: float) -> bool:
        check_entry(key, subkey, value=value, lifetime_s=lifetime_s)
        if self._daemon.exited.is_set():
            return False
        try:
            with self._tasks.tracking():
                async with asyncio.timeout(_DIRECTORY_TIMEOUT_S):
                    expires_at_s = get_dht_time() + lifetime_s
                    return bool(await self._node.store(key, bytes(value), expires_at_s, subkey=subkey))
        except TimeoutError:
            return False

    async def get(self, key: str) -> dict[str, bytes]:
        if self._daemon.exited.is_set():
            return {}
        try:
            with self._tasks.tracking():
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
        with self._tasks.tracking():
            if any(await asyncio.gather(*(self._connect_first(PeerID.from_base58(peer)) for peer in peers))):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_DIRECTORY_TIMEOUT_S):
                        await self._node.find_nearest_nodes([self._node.node_id])

    async def clock_difference_s(self, peer: PeerId) -> float | None:
        """By how much the clock of a connected peer is ahead of this computer's; None where it does not tell.

        Entries expire by the clocks of those who keep them. The peer does not take this node into its tables.
        """
        asked_at_s = get_dht_time()
        try:
            with self._tasks.tracking():
                stub = self._node.protocol.get_stub(PeerID.from_base58(peer))
                reply = await stub.rpc_ping(dht_pb2.PingRequest(validate=False), timeout=_DIRECTORY_TIMEOUT_S)
        except (OSError, EOFError, P2PHandlerError, P2PDaemonError, DecodeError):
            return None
        told_s = float(reply.dht_time)
        return told_s - (asked_at_s + get_dht_time()) / 2 if told_s > 0 else None

    async def _connect_first(self, peer: PeerID) -> bool:
        # Clocks are not compared: whoever has a wrong one may join all the same.
        node_id = await self._node.protocol.call_ping(peer, validate=False, strict=False)
        if node_id is None:
            return False
        await self._node.protocol.update_routing_table(node_id, peer, responded=True)
        return True
