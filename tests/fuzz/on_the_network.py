"""Decoders of what travels below the protocol: frames, addresses, the directory, the local network, TLS.

Owns how each is called on any bytes, with what must be true of its result, and valid inputs by the real encoders.
"""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import Any, cast

import msgpack  # type: ignore[import-untyped]
from zeroconf import ServiceInfo
from zeroconf._dns import DNSText
from zeroconf._protocol.incoming import DNSIncoming
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.asyncio import AsyncServiceInfo

from gossiptrain.errors import AddressError
from gossiptrain.monitor.page.place import Place
from gossiptrain.monitor.page.server import Answers
from gossiptrain.net.addresses import (
    join_addresses,
    parse_announce_address,
    parse_dial_address,
    parse_listen_address,
    readable_addresses,
)
from gossiptrain.net.direct.messages import PREAMBLE_BYTES, preamble, token_in
from gossiptrain.net.direct.tls import Credentials, Engine
from gossiptrain.net.identity import Identity, is_peer_id, verify
from gossiptrain.net.libp2p.daemon_control import plain_reason, read_protobuf
from gossiptrain.net.libp2p.directory import BoundedSerializer
from gossiptrain.net.libp2p.directory_codec import is_acceptable
from gossiptrain.net.libp2p.hivemind_names import Multiaddr, PeerID, p2pd_pb2
from gossiptrain.net.libp2p.packed_address import packed_address, readable_texts
from gossiptrain.net.libp2p.stream import Libp2pStream, host_of, place_of
from gossiptrain.net.libp2p.whereabouts import _relay_of
from gossiptrain.net.local_network import SERVICE, LocalNetwork, announced_digest
from gossiptrain.net.transport import PeerId
from gossiptrain.net.wire import Wire
from gossiptrain.swarm.intake import addresses_in, directory_entry
from tests.fuzz.decoder import BytesStream, Decoder, finished

ORDER_KEY = "key"
PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
RELAY = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
ADDRESSES = (
    f"/ip4/203.0.113.7/tcp/4011/p2p/{PEER}",
    f"/ip6/2001:db8::1/udp/4011/quic-v1/p2p/{PEER}",
    f"/dns4/peer-1.example.org/tcp/443/ws/p2p/{PEER}",
    f"/ip4/203.0.113.7/tcp/4011/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
    "/ip4/0.0.0.0/tcp/0",
)
NOW_S = 1_800_000_000.0
_PLACE = ipaddress.ip_address("203.0.113.7").packed


def take_address(data: bytes) -> None:
    """Whatever passes as an address, libp2p can be given."""
    text = data.decode("utf-8", "replace")
    join_addresses([text])
    refused = 0
    for parse in (parse_dial_address, parse_listen_address, parse_announce_address):
        try:
            address = parse(text)
        except AddressError:
            refused += 1
        else:
            assert packed_address(address.place)
    if refused == 3:
        raise AddressError("no kind of address")


def take_packed_address(data: bytes) -> None:
    """The daemon's own form of where a stream comes from."""
    stream = Libp2pStream(PeerId(PEER), {}, wire=cast("Any", None), packed_address=data)
    place_of(stream)
    host_of(stream)
    _relay_of(stream)


def take_peer_id(data: bytes) -> None:
    """An id, and perhaps a signature behind it."""
    text = data.decode("utf-8", "replace")
    assert not (is_peer_id(text) and len(text) > 128)
    assert not verify(PeerId(text), b"something else", data[-64:])


class _BytesWire:
    """What the daemon has sent."""

    def __init__(self, data: bytes) -> None:
        self._stream = BytesStream(data)

    async def receive_exactly(self, size_bytes: int) -> bytes:
        return await self._stream.read_exactly(size_bytes)


def take_refusal(data: bytes) -> None:
    """The daemon's reason, in which stands what another peer has said."""
    response = finished(read_protobuf(cast("Wire", _BytesWire(data)), p2pd_pb2.Response))
    assert len(plain_reason(response.error.msg)) <= 400
    list(readable_texts(place for info in response.peers for place in info.addrs))


def take_opened_stream(data: bytes) -> None:
    """Who has opened a stream, and from where."""
    info = finished(read_protobuf(cast("Wire", _BytesWire(data)), p2pd_pb2.StreamInfo))
    PeerID(info.peer).to_base58()
    take_packed_address(info.addr)


def _delimited(message: Any) -> bytes:
    payload: bytes = message.SerializeToString()
    assert len(payload) < 128
    return bytes([len(payload)]) + payload


def take_directory_record(data: bytes) -> None:
    """As hivemind decodes what other nodes answer."""
    BoundedSerializer.loads(data)


def take_directory_entry(data: bytes) -> None:
    """As another node asks to have it kept: a name, its length before it, and a value."""
    size, rest = data[:1], data[1:]
    cut = size[0] if size else 0
    is_acceptable(rest[:cut], rest[cut:], expires_at_s=NOW_S + 60, now_s=NOW_S)


def take_entry_of_addresses(data: bytes) -> None:
    """What stands in an entry of the rendezvous."""
    addresses = addresses_in(data)
    assert len(addresses) <= 4
    list(readable_addresses(addresses))


def take_announcement(data: bytes) -> None:
    """A packet of multicast DNS: what zeroconf makes of it, and what is believed of that."""
    network = LocalNetwork(cast("Any", None), "run", PeerId(RELAY), networks=[ipaddress.ip_network("203.0.113.0/24")])
    for record in DNSIncoming(data).answers():
        if isinstance(record, DNSText):
            info = AsyncServiceInfo(SERVICE, f"x.{SERVICE}", 4011, addresses=[_PLACE], properties=record.text)
            addresses = network._believed(info)
            assert all(parse_dial_address(address).peer != RELAY for address in addresses)


def announcement() -> bytes:
    """What a peer announces."""
    info = ServiceInfo(
        SERVICE,
        f"{announced_digest('run')}-{PEER[-20:]}.{SERVICE}",
        port=4011,
        addresses=[_PLACE],
        properties={"id": PEER},
        server=f"gossiptrain-{PEER[-20:]}.local.",
    )
    packet = DNSOutgoing(0x8400)
    for record in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
        packet.add_answer_at_time(record, 0)
    packets = packet.packets()
    assert len(packets) == 1
    return packets[0]


_CREDENTIALS = Credentials.create()


def take_handshake(data: bytes) -> None:
    """The first bytes of a client, to the side that has been called."""
    engine = Engine(_CREDENTIALS, expected=_CREDENTIALS.certificate, server=True)
    if data:
        engine.put(memoryview(data))
    engine.shake()


def client_hello() -> bytes:
    """What a peer says first on a direct connection."""
    engine = Engine(_CREDENTIALS, expected=_CREDENTIALS.certificate, server=False)
    engine.shake()
    said = bytearray(1 << 14)
    return bytes(said[: engine.take(memoryview(said))])


def _dictionary(*entries: tuple[Any, ...]) -> bytes:
    packed: bytes = msgpack.packb(msgpack.ExtType(0x50, msgpack.packb([128, NOW_S, list(entries)])))
    return packed


def _entry(name: str, value: bytes) -> bytes:
    packed_name: bytes = msgpack.packb(name)
    return bytes([len(packed_name)]) + packed_name + bytes(msgpack.packb(value))


def take_order(data: bytes) -> None:
    """What a browser sends that has the key; without it nothing of the body is read."""
    obeyed: list[str] = []

    def obey(order: str, whom: str) -> bool:
        obeyed.append(order)
        return isinstance(whom, str)

    answers = Answers(Place("127.0.0.1", (0,)), dict, obey, ORDER_KEY)
    status = answers.obey("/kill", data, ORDER_KEY)
    assert (status == HTTPStatus.NO_CONTENT) == (obeyed == ["kill"])
    assert status in (HTTPStatus.NO_CONTENT, HTTPStatus.BAD_REQUEST)
    assert answers.obey("/kill", data, "another") == HTTPStatus.FORBIDDEN


def decoders() -> list[Decoder]:
    """All of this file."""
    entry = directory_entry(ADDRESSES)
    one = Identity.generate()
    place = packed_address(ADDRESSES[0])
    greeting = p2pd_pb2.StreamInfo(peer=PeerID.from_base58(PEER).to_bytes(), addr=place, proto="/gossiptrain/hello")
    refusal = p2pd_pb2.Response(
        type=p2pd_pb2.Response.ERROR, error=p2pd_pb2.ErrorResponse(msg=f"remote key matches {PEER}")
    )
    closed = (ConnectionError,)
    daemon = ("net/libp2p/daemon_control.py",)
    rooms = ("net/libp2p/directory_codec.py", "net/libp2p/directory.py")
    return [
        Decoder(
            "addresses",
            take_address,
            [text.encode() for text in ADDRESSES],
            ("net/addresses.py", "net/libp2p/packed_address.py"),
            raises=(AddressError,),
            limit_bytes=512,
        ),
        Decoder(
            "packed-addresses",
            take_packed_address,
            [packed_address(text) for text in ADDRESSES] + [Multiaddr("/unix/tmp/x").to_bytes()],
            ("net/libp2p/stream.py", "net/libp2p/whereabouts.py"),
            limit_bytes=1024,
        ),
        Decoder(
            "peer-ids",
            take_peer_id,
            [PEER.encode(), one.peer_id.encode() + one.sign(b"x"), b"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"],
            ("net/identity.py",),
            limit_bytes=256,
        ),
        Decoder("refusals-of-the-daemon", take_refusal, [_delimited(refusal)], daemon, raises=closed),
        Decoder("streams-of-the-daemon", take_opened_stream, [_delimited(greeting)], daemon, raises=closed),
        Decoder(
            "directory-records",
            take_directory_record,
            [
                bytes(msgpack.packb(b"value")),
                bytes(msgpack.packb("name")),
                bytes(msgpack.packb(None)),
                _dictionary(),
                _dictionary(*((f"peer-{n}", entry, NOW_S + n) for n in range(3))),
                _dictionary(*((f"peer-{n}", bytes(1024), 2e9 + n) for n in range(128))),
            ],
            rooms,
            raises=(ValueError,),
            limit_bytes=160 << 10,
        ),
        Decoder(
            "directory-entries", take_directory_entry, [_entry(PEER, entry), _entry("a", b"")], rooms, limit_bytes=2048
        ),
        Decoder(
            "addresses-in-entries", take_entry_of_addresses, [entry, b"[]"], ("swarm/intake.py",), limit_bytes=1024
        ),
        Decoder("orders-of-the-page", take_order, [b'{"peer":"one"}', b"{}"], ("monitor/page/server.py",)),
        Decoder("announcements", take_announcement, [announcement()], ("net/local_network.py",), limit_bytes=9000),
        Decoder(
            "tokens-of-connections",
            token_in,
            [preamble(bytes(32))],
            ("net/direct/messages.py",),
            limit_bytes=PREAMBLE_BYTES,
        ),
        Decoder("tls-handshakes", take_handshake, [client_hello()], ("net/direct/tls.py",), raises=closed),
    ]
