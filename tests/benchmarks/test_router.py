"""What passes a router of each kind, and that translated packets are whole."""

from __future__ import annotations

import socket
import struct
from typing import get_args

import pytest
from benchmarks.links.router import TCP, UDP, Packet, Router, RouterKind
from hypothesis import given
from hypothesis import strategies as st

INSIDE, OUTSIDE = "192.168.1.2", "11.77.0.1"
SERVER, OTHER = ("11.77.0.9", 4001), ("11.77.0.8", 4001)
KINDS: tuple[RouterKind, ...] = tuple(kind for kind in get_args(RouterKind) if kind != "none")
FREE_FOR_ALL, FREE_FOR_ADDRESS = {"endpoint-independent"}, {"address-dependent"}
"""Kinds that let in whoever knows the port, and every program at an address that was called."""
ADDRESSES = st.integers(0, 2**32 - 1).map(lambda number: socket.inet_ntoa(number.to_bytes(4, "big")))
PLACES = st.tuples(ADDRESSES, st.integers(1, 65535))


def checksum(data: bytes) -> int:
    """By its definition (RFC 1071), over all words."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(
    source: tuple[str, int],
    destination: tuple[str, int],
    content: bytes = b"",
    *,
    protocol: int = TCP,
    options: int = 0,
) -> bytes:
    """A packet as a computer sends it. options: words of options in the header of IP."""
    pseudo = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    ports = struct.pack(">HH", source[1], destination[1])
    if protocol == TCP:
        head, tail = ports + struct.pack(">IIHH", 1, 2, 5 << 12, 1000), b"\0\0"
    else:
        head, tail = ports + struct.pack(">H", 8 + len(content)), b""
    size_bytes = len(head) + 2 + len(tail) + len(content)
    summed = pseudo + struct.pack(">HH", protocol, size_bytes) + head + tail + content
    segment = head + checksum(summed).to_bytes(2, "big") + tail + content
    first = struct.pack(">BBHHHBB", 0x45 + options, 0, 20 + 4 * options + len(segment), 7, 0x4000, 64, protocol)
    rest = pseudo + bytes(4 * options)
    return first + checksum(first + rest).to_bytes(2, "big") + rest + segment


def ends(data: bytes | None) -> tuple[tuple[str, int], tuple[str, int]]:
    """Where a packet comes from and goes to."""
    assert data is not None
    found = Packet.parsed(data)
    assert found is not None
    (source, source_port), (destination, destination_port) = found.source, found.destination
    return (socket.inet_ntoa(source), source_port), (socket.inet_ntoa(destination), destination_port)


def outside_place(router: Router, destination: tuple[str, int], *, port: int = 5000) -> tuple[str, int]:
    """Where a program inside is seen by whom it calls."""
    inside = OUTSIDE if router.kind == "firewall" else INSIDE
    return ends(router.outbound(packet((inside, port), destination)))[0]


@given(PLACES, PLACES, PLACES, st.binary(max_size=40), st.sampled_from([TCP, UDP]), st.integers(0, 10))
def test_a_translated_packet_is_what_its_sender_would_have_sent_from_there(
    source: tuple[str, int],
    destination: tuple[str, int],
    seen: tuple[str, int],
    content: bytes,
    protocol: int,
    options: int,
) -> None:
    parsed = Packet.parsed(packet(source, destination, content, protocol=protocol, options=options))
    assert parsed is not None
    place = (socket.inet_aton(seen[0]), seen[1])
    expected = packet(seen, destination, content, protocol=protocol, options=options)
    found = parsed.between(place, parsed.destination)
    # Of the two forms of zero in ones' complement a checksum may take either.
    header = 20 + 4 * options
    at = header + (16 if protocol == TCP else 6)
    for first, last in ((0, 10), (12, at), (at + 2, len(expected))):
        assert found[first:last] == expected[first:last]
    for place_at in (10, at):
        assert int.from_bytes(found[place_at : place_at + 2], "big") % 0xFFFF == (
            int.from_bytes(expected[place_at : place_at + 2], "big") % 0xFFFF
        )


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_reaches_the_program_that_has_asked(kind: RouterKind) -> None:
    router = Router(kind, OUTSIDE)
    seen = outside_place(router, SERVER)
    assert seen[0] == OUTSIDE
    source, destination = ends(router.inbound(packet(SERVER, seen)))
    assert source == SERVER
    assert destination == ((OUTSIDE if kind == "firewall" else INSIDE), 5000)


@pytest.mark.parametrize("kind", KINDS)
def test_who_was_not_called_is_not_let_in(kind: RouterKind) -> None:
    router = Router(kind, OUTSIDE)
    assert router.inbound(packet(SERVER, (OUTSIDE, 5000))) is None
    seen = outside_place(router, SERVER)
    assert router.inbound(packet(SERVER, seen, protocol=UDP)) is None
    assert router.inbound(packet(SERVER, (OUTSIDE, 5001))) is None
    other_program = (SERVER[0], 4002)
    assert (router.inbound(packet(other_program, seen)) is None) == (kind not in FREE_FOR_ALL | FREE_FOR_ADDRESS)
    assert (router.inbound(packet(OTHER, seen)) is None) == (kind not in FREE_FOR_ALL)


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_symmetric_router_shows_another_port_to_everybody(kind: RouterKind) -> None:
    router = Router(kind, OUTSIDE)
    seen = [outside_place(router, place) for place in (SERVER, OTHER, (SERVER[0], 4002), SERVER)]
    assert seen[0] == seen[3]
    assert len(set(seen)) == (3 if kind == "symmetric" else 1)


def test_two_that_call_each_other_at_a_port_that_stays_meet() -> None:
    """Both are let in once both have called: what hole punching lives by."""
    one, two = Router("port-dependent", "11.77.0.2"), Router("port-dependent", "11.77.0.3")
    first = one.outbound(packet((INSIDE, 5000), ("11.77.0.3", 6000)))
    assert first is not None
    assert two.inbound(first) is None
    second = two.outbound(packet(("192.168.9.9", 6000), ("11.77.0.2", 5000)))
    assert second is not None
    assert ends(one.inbound(second)) == (("11.77.0.3", 6000), (INSIDE, 5000))
    assert ends(two.inbound(first)) == (("11.77.0.2", 5000), ("192.168.9.9", 6000))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x60" + bytes(60), packet(SERVER, OTHER)[:30], b"\x45" + bytes(8) + b"\x01" + bytes(30)],
    ids=["nothing", "version 6", "cut off", "neither TCP nor UDP"],
)
def test_what_has_no_ports_does_not_pass(data: bytes) -> None:
    for kind in KINDS:
        assert Router(kind, OUTSIDE).outbound(data) is None
        assert Router(kind, OUTSIDE).inbound(data) is None
