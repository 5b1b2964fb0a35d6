"""What kind of router stands between this computer and the internet.

Owns what shows of it from here: the own addresses, one question to the router itself, and what relays say of where they
see this computer call. Does not know how those are asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

from gossiptrain.doctor.finding import Finding, not_checked, ok, warning
from gossiptrain.doctor.routes import own_address
from gossiptrain.net.listener import IpAddress

SHARED = ipaddress.ip_network("100.64.0.0/10")
"""Addresses that providers give to several customers at once (RFC 6598)."""
_MAPPING_PORT = 5351
_ROUTER_ANSWER_S = 0.5


async def check_router() -> list[Finding]:
    """Which kind of address translation (NAT) others see this computer through, as far as it shows from here."""
    own = own_address(4)
    if own is None:
        return [not_checked("NAT", "There is no way to the internet over IPv4, so no router translates addresses.")]
    if own.is_global:
        return [ok("NAT", f"None: {own} is a public address of this computer itself.")]
    if own in SHARED:
        return [_shared(f"The provider has given this computer {own}, which it shares with other customers.")]
    outside = await _address_of_router()
    said = f"This computer has {own}, an address of its own network: a router translates it (NAT)."
    forward = "To be called from the internet, forward a port of the router to it; else others come through a relay."
    if outside is None:
        return [
            warning("NAT", said, cause="The router was asked for its public address and says nothing.", remedy=forward)
        ]
    if outside in SHARED or not outside.is_global:
        return [_shared(f"The router itself has only {outside}, which is no public address: there is a second one.")]
    return [warning("NAT", f"{said} The public address of the router is {outside}.", remedy=forward)]


def _shared(what: str) -> Finding:
    return warning(
        "NAT",
        what,
        cause="Ports cannot be forwarded through two routers of which one is the provider's.",
        remedy="Use IPv6 where both sides have it, or a peer that others can dial, such as `gossip bootstrap`.",
    )


def judged_by_others(seen: Sequence[tuple[str, int]], own_ports: Collection[int]) -> list[Finding]:
    """What a router does, where relays have said at which host and port they see this computer call.

    own_ports: at which its daemon listens, and from which it calls.
    """
    places = [(host, port) for host, port in seen if not ipaddress.ip_address(host).is_loopback]
    if not places:
        return []
    host = places[0][0]
    if all(_is_own(ipaddress.ip_address(each)) for each, _ in places):
        return [ok("NAT seen", f"None: others see this computer at its own address {host}.")]
    if len(set(places)) > 1:
        return [
            warning(
                "NAT seen",
                f"A router shows each other peer another port of this computer ({_in_words(places)}): symmetric NAT.",
                cause="Such routers let in nobody but those that were called, so two peers cannot call each other.",
                remedy="Forward a port of the router to this computer, or use IPv6; parameters pass a relay else.",
            )
        ]
    if len(places) > 1 or places[0][1] in own_ports:
        return [
            ok("NAT seen", f"A router shows all others the same port ({_in_words(places[:1])}): relays are enough.")
        ]
    return [not_checked("NAT seen", f"A router translates addresses ({_in_words(places)}); two relays tell more.")]


def _in_words(places: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{host} port {port}" for host, port in places)


def _is_own(host: IpAddress) -> bool:
    """Whether this computer has the address itself."""
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(host), 0))
        except OSError:
            return False
    return True


def gateway() -> str | None:
    """The address of the router to which all goes that is not of the own network."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            _, destination, router, *_ = line.split()
            if destination == "00000000" and router != "00000000":
                return str(ipaddress.IPv4Address(int(router, 16).to_bytes(4, "little")))
    return None


async def _address_of_router() -> IpAddress | None:
    """The public address of the router by NAT-PMP (RFC 6886, 3.2); None where it does not speak that."""
    router = gateway()
    if router is None:
        return None
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect((router, _MAPPING_PORT))
            await loop.sock_sendall(probe, b"\0\0")
            async with asyncio.timeout(_ROUTER_ANSWER_S):
                answer = await loop.sock_recv(probe, 64)
        except (OSError, TimeoutError):
            return None
    is_answer = len(answer) >= 12 and answer[:4] == bytes([0, 128, 0, 0])
    return ipaddress.IPv4Address(answer[8:12]) if is_answer else None
