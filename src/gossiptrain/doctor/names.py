"""Whether names are resolved.

Owns what is concluded from the system's resolver and from the file that names its servers. Does not know peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from pathlib import Path

from gossiptrain.doctor.blocking import off_loop
from gossiptrain.doctor.finding import Finding, fault, ok, warning
from gossiptrain.net.listener import IpAddress

WELL_KNOWN = "huggingface.co"
"""From there CIFAR-10 is downloaded."""
NAME_S = 2.5
RESOLVER_FILE = Path("/etc/resolv.conf")


async def resolved(name: str, port: int = 0, *, family: int = socket.AF_UNSPEC) -> list[IpAddress]:
    """The addresses of a name. Raises socket.gaierror; TimeoutError where the resolver says nothing for `NAME_S`."""
    async with asyncio.timeout(NAME_S):
        found = await off_loop(lambda: socket.getaddrinfo(name, port, family=family, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found))


async def check_names(name: str = WELL_KNOWN) -> list[Finding]:
    """Whether the name of a place on the internet is resolved. Peers at IP addresses need no names."""
    try:
        await resolved(name)
    except (socket.gaierror, TimeoutError) as error:
        remedy = "Peers at addresses that begin with /ip4/ or /ip6/ are reached all the same. Data cannot be fetched."
        return [warning("DNS", f"Names are not resolved: {name} was not.", cause=cause_of(error), remedy=remedy)]
    return [ok("DNS", f"Names are resolved ({name} was).")]


def unresolved(name: str, error: OSError) -> Finding:
    """Why the name in the address of a peer is not resolved. error: as `resolved` raises it."""
    if error.errno == socket.EAI_NODATA:
        cause = "The name exists, and has no address of this kind: /dns4/ wants IPv4, /dns6/ IPv6."
        return fault("name", f"{name} has no such address.", cause=cause, remedy=f"Try /dns/{name}/...")
    return fault(
        "name",
        f"The name {name} is not resolved.",
        cause=cause_of(error),
        remedy="Look whether it is spelt right, or use the address of that peer in numbers: /ip4/.../tcp/...",
    )


def cause_of(error: OSError) -> str:
    """In words, with the servers that were asked."""
    servers = name_servers()
    asked = f"{', '.join(servers)} (from {RESOLVER_FILE})" if servers else f"none: {RESOLVER_FILE} names no server"
    if isinstance(error, TimeoutError) or error.errno == socket.EAI_AGAIN:
        return f"No name server answers. Asked: {asked}."
    if error.errno == socket.EAI_NONAME and servers:
        return f"The name server says that there is no such name. Asked: {asked}."
    return f"The resolver says: {error.strerror}. Asked: {asked}."


def name_servers() -> list[str]:
    """Addresses of the name servers of this computer."""
    with contextlib.suppress(OSError):
        lines = (line.split() for line in RESOLVER_FILE.read_text(errors="replace").splitlines())
        return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"][:3]
    return []
