"""Multiaddrs: what may stand in one, and for whom an address is of use.

Owns the one parser of addresses, for those that people type, that peers tell and that the directory holds. Whatever it
takes libp2p's own multiaddrs take as well (a test holds that), so a dialler never meets one that it cannot read. Does
not know sockets or libp2p.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import ifaddr

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import AddressError
from gossiptrain.net.identity import decode_base58
from gossiptrain.net.transport import PeerId

_HOST_KINDS = ("ip4", "ip6", "dns", "dns4", "dns6")
_LABEL = r"(?!..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
"""Names that libp2p's multiaddrs take, there and back: no underscores, no dot at the end, no hyphens where those of an
encoded international name stand."""
_OVER_TCP = ((), ("ws",))
_OVER_UDP = (("quic-v1",),)
_MAX_ADDRESS_LENGTH = 512
_ID_BEGINNINGS = {
    bytes.fromhex("0024080112 20"): 38,  # an Ed25519 key itself, as all peers of this project have
    bytes.fromhex("0025080212 21"): 39,  # a secp256k1 key itself
    bytes.fromhex("1220"): 34,  # the SHA-256 of a longer key
}
"""How ids of libp2p's peers begin, as bytes, and how long they are then."""
_EXAMPLE_ID = "12D3KooW..."
_EXAMPLE = f"/ip4/203.0.113.7/tcp/4011/p2p/{_EXAMPLE_ID}"
_LISTEN_EXAMPLE = "/ip4/0.0.0.0/tcp/4011"


@dataclass(frozen=True)
class Address:
    """A multiaddr, taken apart. `peer` None: it names no peer. `relayed`: it leads through another peer."""

    text: str
    host_kind: str
    host: str
    transport: str
    port: int
    peer: PeerId | None
    relayed: bool

    @property
    def place(self) -> str:
        """The address without the id of the peer that lives there."""
        return self.text.rstrip("/") if self.peer is None else self.text.rstrip("/").rpartition("/p2p/")[0]

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address as a number; None for a name."""
        return ipaddress.ip_address(self.host) if self.host_kind in ("ip4", "ip6") else None


@dataclass(frozen=True)
class JoinAddresses:
    """Addresses of one peer, by who can use them."""

    this_computer: tuple[str, ...]
    this_network: tuple[str, ...]
    internet: tuple[str, ...]


def parse_listen_address(text: str) -> Address:
    """Checks an address to listen on, such as `/ip4/0.0.0.0/tcp/4011`. Port 0: any free one. Raises AddressError."""
    address = _parse(text, example=_LISTEN_EXAMPLE)
    if address.ip is None:
        raise _bad(text, "a peer listens on an IP address, not on a name", example=_LISTEN_EXAMPLE)
    if address.peer is not None or address.relayed:
        raise _bad(text, "an address to listen on has no /p2p/ID: the peer adds its own", example=_LISTEN_EXAMPLE)
    return address


def parse_announce_address(text: str) -> Address:
    """Checks an address to tell others, such as `/ip4/203.0.113.7/tcp/4011`. Raises AddressError."""
    address = _parse(text, example="/ip4/203.0.113.7/tcp/4011")
    if address.port == 0:
        raise _bad(text, "others need the real port, not 0", example="/ip4/203.0.113.7/tcp/4011")
    return address


def parse_dial_address(text: str) -> Address:
    """Checks the address of another peer, which ends in `/p2p/ID`. Raises AddressError; its `peer` is never None."""
    address = _parse(text, example=_EXAMPLE)
    if address.peer is None:
        full = f"{text.rstrip('/')}/p2p/{_EXAMPLE_ID}"
        raise _bad(text, "it does not say which peer lives there: /p2p/ID is missing at its end", example=full)
    if address.port == 0:
        raise _bad(text, "a peer cannot be reached at port 0", example=_EXAMPLE)
    if address.ip is not None and address.ip.is_unspecified:
        raise _bad(
            text, f"{address.host} stands for every address of a computer; a peer lives at one", example=_EXAMPLE
        )
    if address.ip is not None and address.ip.is_multicast:
        raise _bad(text, f"{address.host} stands for many computers; a peer lives at one", example=_EXAMPLE)
    return address


def check_addresses(network: NetworkSettings) -> None:
    """Raises AddressError where one that a person has given is of no use for what it was given for."""
    for address in (*network.initial_peers, *network.known_peers):
        parse_dial_address(address)
    for address in network.host_maddrs:
        parse_listen_address(address)
    for address in network.announce_maddrs:
        parse_announce_address(address)


def listening_addresses(host_maddrs: Iterable[str]) -> list[str]:
    """Where a peer that listens there can be dialled, on this computer and on its networks, without its id.

    Addresses whose port is chosen later are left out.
    """
    found: list[str] = []
    for address in readable_addresses(host_maddrs):
        if address.port == 0 or address.ip is None:
            continue
        rest = address.text.partition(address.host)[2]
        hosts = [address.host]
        if address.ip.is_unspecified:
            own = (
                one.ip if isinstance(one.ip, str) else one.ip[0] for each in ifaddr.get_adapters() for one in each.ips
            )
            hosts = [host for host in own if (":" in host) == (address.ip.version == 6)]
        found += [f"/ip{address.ip.version}/{host}{rest}" for host in hosts]
    return found


def readable_addresses(texts: Iterable[str]) -> Iterator[Address]:
    """Takes addresses apart and passes over those of kinds that are not known here."""
    for text in texts:
        with contextlib.suppress(AddressError):
            yield _parse(text, example=_EXAMPLE)


def join_addresses(addresses: Sequence[str]) -> JoinAddresses:
    """Sorts addresses of a peer by who can reach it there. Relayed ones and names count as the internet's."""
    found: dict[str, list[str]] = {"this_computer": [], "this_network": [], "internet": []}
    for address in readable_addresses(addresses):
        found[_audience(address)].append(address.text)
    return JoinAddresses(**{audience: tuple(texts) for audience, texts in found.items()})


def _audience(address: Address) -> str:
    ip = address.ip
    if address.relayed or ip is None:
        return "internet"
    if ip.is_loopback:
        return "this_computer"
    return "internet" if ip.is_global else "this_network"


def _parse(text: str, *, example: str) -> Address:
    if len(text) > _MAX_ADDRESS_LENGTH:
        raise _bad(text[:40] + "...", "it is far too long", example=example)
    parts = text.rstrip("/").split("/")
    if len(parts) < 5 or parts[0]:
        raise _bad(text, "it has not the form /KIND/HOST/PROTOCOL/PORT", example=example)
    _, host_kind, host, transport, port_text, *rest = parts
    _check_host(text, host_kind, host, example=example)
    if transport not in ("tcp", "udp"):
        raise _bad(text, f"{transport!r} is neither tcp nor udp", example=example)
    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise _bad(text, f"{port_text!r} is not a port, 0 to 65535", example=example)
    upper, peer, relayed = _split_rest(text, rest, example=example)
    if transport == "udp" and upper not in _OVER_UDP:
        raise _bad(text, "over udp a peer speaks QUIC: /quic-v1 is missing after the port", example=example)
    if transport == "tcp" and upper not in _OVER_TCP:
        raise _bad(text, f"/{'/'.join(upper)} is unknown after the port", example=example)
    return Address(text, host_kind, host, transport, int(port_text), peer, relayed)


def _check_host(text: str, host_kind: str, host: str, *, example: str) -> None:
    if host_kind not in _HOST_KINDS:
        raise _bad(text, f"it begins with {host_kind!r}, not with one of {', '.join(_HOST_KINDS)}", example=example)
    if host_kind.startswith("dns"):
        if not _DOMAIN_NAME.fullmatch(host):
            raise _bad(text, f"{host!r} is not a domain name of letters, digits, hyphens and dots", example=example)
        return
    try:
        matches = f"ip{ipaddress.ip_address(host).version}" == host_kind and "%" not in host
    except ValueError:
        matches = False
    if not matches:
        raise _bad(text, f"{host!r} is not an IPv{host_kind[-1]} address", example=example)


def _split_rest(text: str, rest: list[str], *, example: str) -> tuple[tuple[str, ...], PeerId | None, bool]:
    """Splits what follows the port: upper protocols, the id of the peer, and whether a relay stands between."""
    if "p2p" not in rest:
        return tuple(rest), None, False
    upper, tail = rest[: rest.index("p2p")], rest[rest.index("p2p") :]
    match tail:
        case ["p2p", peer]:
            relayed = False
        case ["p2p", relay, "p2p-circuit", "p2p", peer]:
            _check_peer_id(text, relay, example=example)
            relayed = True
        case _:
            raise _bad(text, "it has not the form .../p2p/ID after the port", example=example)
    _check_peer_id(text, peer, example=example)
    return tuple(upper), PeerId(peer), relayed


def _check_peer_id(text: str, peer: str, *, example: str) -> None:
    try:
        decoded = decode_base58(peer)
    except ValueError:
        decoded = b""
    if not any(decoded.startswith(head) and len(decoded) == size for head, size in _ID_BEGINNINGS.items()):
        raise _bad(text, f"{peer!r} is not the id of a peer", example=example)


def _bad(text: str, fault: str, *, example: str) -> AddressError:
    return AddressError(f"{text!r} is not usable: {fault}.", remedy=f"An address looks like {example}")
