"""What stands between a computer at home and the internet: it translates addresses, and lets only answers in.

Owns which packets pass and how they leave, for IPv4 with TCP or UDP. Everything else is dropped, as are packets that
nothing inside has asked for, without a word to their sender. The kinds differ in whose packets count as asked for, and
in whether a program has one outside port or one for each destination (RFC 4787, 4.1 and 5): through the latter nobody
can be called, since nobody knows at which port. Does not know what carries packets.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

RouterKind = Literal["none", "firewall", "endpoint-independent", "address-dependent", "port-dependent", "symmetric"]
"""`firewall`: addresses stay as they are, and whoever was called is let in. The others translate. Once a program has
called anybody at all, it is let in for everybody, for all programs at the address that it called, or only for the
program that it called; `symmetric`: that, too, and with another outside port for each."""
TCP, UDP = 6, 17
_CHECKSUM_AT = {TCP: 16, UDP: 6}
FIRST_PORT, LAST_PORT = 20_000, 60_000
"""Outside ports, where they are not those inside."""

Place = tuple[bytes, int]
"""A packed address and a port."""


@dataclass(frozen=True)
class Packet:
    """What a router looks at: the protocol, and where a packet comes from and goes to."""

    data: bytes
    protocol: int
    source: Place
    destination: Place

    @classmethod
    def parsed(cls, data: bytes) -> Packet | None:
        """None where it is no IPv4 packet with the ports of TCP or UDP at its beginning."""
        if len(data) < 20 or data[0] >> 4 != 4 or data[9] not in _CHECKSUM_AT:
            return None
        header = 4 * (data[0] & 15)
        is_later_fragment = int.from_bytes(data[6:8], "big") & 0x1FFF
        if is_later_fragment or len(data) < header + _CHECKSUM_AT[data[9]] + 2:
            return None
        source, destination = struct.unpack_from(">HH", data, header)
        return cls(data, data[9], (data[12:16], source), (data[16:20], destination))

    def between(self, source: Place, destination: Place) -> bytes:
        """The packet with these ends, and with checksums that are right again (RFC 1624)."""
        changed = bytearray(self.data)
        header = 4 * (changed[0] & 15)
        before = [self.source, self.destination]
        after = [source, destination]
        changed[12:16], changed[16:20] = source[0], destination[0]
        struct.pack_into(">HH", changed, header, source[1], destination[1])
        addresses = [b"".join(place[0] for place in places) for places in (before, after)]
        ports = [struct.pack(">HH", *(place[1] for place in places)) for places in (before, after)]
        _adjust(changed, 10, addresses[0], addresses[1])
        checksum_at = header + _CHECKSUM_AT[self.protocol]
        if self.protocol == TCP or changed[checksum_at : checksum_at + 2] != b"\0\0":
            _adjust(changed, checksum_at, addresses[0] + ports[0], addresses[1] + ports[1])
        return bytes(changed)


def _adjust(packet: bytearray, at: int, before: bytes, after: bytes) -> None:
    total = ~int.from_bytes(packet[at : at + 2], "big") & 0xFFFF
    total += sum(~word & 0xFFFF for word in _words(before)) + sum(_words(after))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    packet[at : at + 2] = (~total & 0xFFFF).to_bytes(2, "big")


def _words(data: bytes) -> Sequence[int]:
    return struct.unpack(f">{len(data) // 2}H", data)


@dataclass
class Router:
    """One router with one computer behind it."""

    kind: RouterKind
    outside: str
    """The address that the internet sees."""
    _ports: dict[tuple[int, int, Place], int] = field(default_factory=dict)
    """The outside port, where it depends on the destination: by protocol, inside port and destination."""
    _inside: dict[tuple[int, int], Place] = field(default_factory=dict)
    """Who is behind an outside port, by protocol."""
    _called: set[tuple[int, int, Place]] = field(default_factory=set)
    """Protocol, outside port, and the place outside that was sent anything from there, or its address alone, or nobody:
    as far as it matters."""
    _next_port: int = FIRST_PORT

    def outbound(self, data: bytes) -> bytes | None:
        """A packet from inside as it leaves; None where it does not."""
        packet = Packet.parsed(data)
        if packet is None:
            return None
        port = self._outside_port(packet)
        self._inside[packet.protocol, port] = packet.source
        self._called.add((packet.protocol, port, self._as_far_as_it_matters(packet.destination)))
        address = packet.source[0] if self.kind == "firewall" else socket.inet_aton(self.outside)
        return packet.between((address, port), packet.destination)

    def inbound(self, data: bytes) -> bytes | None:
        """A packet from outside as the computer inside gets it; None where it is not let in."""
        packet = Packet.parsed(data)
        if packet is None:
            return None
        caller = self._as_far_as_it_matters(packet.source)
        if (packet.protocol, packet.destination[1], caller) not in self._called:
            return None
        return packet.between(packet.source, self._inside[packet.protocol, packet.destination[1]])

    def _as_far_as_it_matters(self, place: Place) -> Place:
        address, port = place
        if self.kind == "endpoint-independent":
            return b"", 0
        return (address, 0) if self.kind == "address-dependent" else (address, port)

    def _outside_port(self, packet: Packet) -> int:
        inside = packet.source[1]
        if self.kind != "symmetric":
            return inside  # one computer alone has no need of other ports, and most routers keep them where they can
        flow = (packet.protocol, inside, packet.destination)
        if flow not in self._ports:
            self._ports[flow] = self._next_port
            self._next_port = FIRST_PORT if self._next_port == LAST_PORT else self._next_port + 1
        return self._ports[flow]
