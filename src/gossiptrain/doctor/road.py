"""The road to another peer, as far as sockets go: its address, its name, a route, a TCP connection.

Owns these steps, and what stops at each of them most likely means. Does not know libp2p: whoever answers at the end may
still be somebody else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from gossiptrain.doctor.finding import Finding, fault, fault_of, not_checked, ok
from gossiptrain.doctor.names import resolved, unresolved
from gossiptrain.doctor.routes import own_address, source_for, why_no_way
from gossiptrain.errors import AddressError
from gossiptrain.net.addresses import Address, parse_dial_address
from gossiptrain.net.listener import IpAddress

CONNECT_S = 3.5
"""Enough for a third attempt of the system, after 3 s, and to hear that nobody on the own network has an address."""
_FAMILIES = {"dns4": socket.AF_INET, "dns6": socket.AF_INET6, "dns": socket.AF_UNSPEC}


async def follow(text: str, note: Callable[[Finding], None]) -> Address | None:
    """Goes as far as it can, and notes each step. The address where nothing stands in the way; else None."""
    try:
        address = parse_dial_address(text)
    except AddressError as error:
        note(fault_of("address", error))
        return None
    said = "It leads through a relay, whose address comes first." if address.relayed else "It can be read."
    note(ok("address", said))
    hosts = await _hosts(address, note)
    reachable = _with_a_route(hosts, note) if hosts else []
    if not reachable:
        return None
    if address.transport == "udp":
        note(not_checked("TCP", "The address is one of UDP (QUIC), at which only libp2p itself can knock."))
        return address
    return address if await _answers(reachable, address, note) else None


async def _hosts(address: Address, note: Callable[[Finding], None]) -> list[IpAddress]:
    if address.ip is not None:
        return [address.ip]
    try:
        hosts = await resolved(address.host, address.port, family=_FAMILIES[address.host_kind])
    except (socket.gaierror, TimeoutError) as error:
        note(unresolved(address.host, error))
        return []
    note(ok("name", f"{address.host} is {', '.join(map(str, hosts))}."))
    return hosts


def _with_a_route(hosts: Sequence[IpAddress], note: Callable[[Finding], None]) -> list[IpAddress]:
    found, failures = [], []
    for host in hosts:
        try:
            source = source_for(host)
        except OSError as error:
            failures.append(why_no_way(host, error))
        else:
            found.append((host, source))
    if not found:
        note(failures[0])
        return []
    host, source = found[0]
    note(ok("route", f"This computer sends to {host} from its address {source}."))
    return [host for host, _ in found]


async def _answers(hosts: Sequence[IpAddress], address: Address, note: Callable[[Finding], None]) -> bool:
    outcomes = await asyncio.gather(*(_connect(host, address.port) for host in hosts))
    for host, outcome in zip(hosts, outcomes, strict=True):
        if outcome is None:
            note(ok("TCP", f"Something takes connections at {host}, port {address.port}."))
            return True
    # One that was refused says more than one that heard nothing.
    host, error = min(zip(hosts, outcomes, strict=True), key=lambda one: not isinstance(one[1], ConnectionRefusedError))
    assert error is not None  # each has failed
    note(_why_no_connection(host, address, error))
    return False


async def _connect(host: IpAddress, port: int) -> OSError | None:
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(str(host), port)
    except OSError as error:  # TimeoutError is one
        return error
    writer.transport.abort()
    return None


def _why_no_connection(host: IpAddress, address: Address, error: OSError) -> Finding:
    place = f"{host}, port {address.port}"
    if host.is_loopback:
        return fault(
            "TCP",
            f"Nothing listens at port {address.port} of this computer, which {host} always means.",
            cause="The peer has ended, listens at another port now, or runs on another computer.",
            remedy="On the same computer, take the address that the peer prints now; on another one, that for this "
            "network or the internet.",
        )
    if host.version == 4 and host.is_private and is_on_own_network(host) is False:
        own = own_address(4)
        return fault(
            "TCP",
            f"Nobody answers at {place}, which is a private address.",
            cause="It is of use only within the network of that peer"
            + (f"; this computer is in another one, at {own}." if own else "."),
            remedy=f"Ask for its address for the internet, behind a router with port {address.port} forwarded; "
            "or join its network, or meet at a public peer: `gossip bootstrap`.",
        )
    if isinstance(error, ConnectionRefusedError):
        return fault(
            "TCP",
            f"The computer {host} answers, and nothing listens at its port {address.port}.",
            cause="The peer has ended, or was started anew and listens at another port.",
            remedy="Start it, or take the address that it prints now; a fixed port in its --host-maddr stays the same.",
        )
    if isinstance(error, TimeoutError):
        return fault(
            "TCP",
            f"No answer from {place}: packets to it vanish.",
            cause="A firewall drops them, the router there forwards no port, or that computer is off.",
            remedy=f"There, let TCP in at port {address.port} and, behind a router, forward it; "
            "or meet at a public peer: `gossip bootstrap`.",
        )
    return fault(
        "TCP",
        f"No computer answers at {host}.",
        cause=f"It is off, has another address now, or is in another network; many networks at home use the same "
        f"addresses ({error.strerror or error}).",
        remedy="Take the address that the peer prints now.",
    )


def is_on_own_network(host: IpAddress, table: Path = Path("/proc/net/route")) -> bool | None:
    """Whether packets to an IPv4 address go to it without a router; None where the system's table cannot be read."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
        routes = [(_number(row[1]), _number(row[2]), _number(row[7])) for row in rows]
    except (OSError, ValueError, IndexError):
        return None
    return any(mask and not router and int(host) & mask == network for network, router, mask in routes)


def _number(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")
