"""Whether names are resolved.

Owns what is concluded from the system's resolver and from the file that names its servers. Does not know peers.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from gossiptrain.doctor.finding import Finding, fault, ok, warning

WELL_KNOWN = "huggingface.co"
"""From there CIFAR-10 is downloaded."""
RESOLVER_FILE = Path("/etc/resolv.conf")


def check_names(name: str = WELL_KNOWN) -> list[Finding]:
    """Whether the name of a place on the internet is resolved. Peers at IP addresses need no names."""
    try:
        socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return [unresolved(name, error)]
    return [ok("DNS", f"Names are resolved ({name} was).")]


def unresolved(name: str, error: socket.gaierror | None) -> Finding:
    """Why the name of a place on the internet is not resolved; error None: the resolver says nothing."""
    return warning(
        "DNS",
        f"Names are not resolved: {name} was not.",
        cause=cause_of(error),
        remedy="Peers at addresses that begin with /ip4/ or /ip6/ are reached all the same. Data cannot be downloaded.",
    )


def unresolved_peer(name: str, error: socket.gaierror | None) -> Finding:
    """The same for the name in the address of a peer."""
    if error is not None and error.errno == socket.EAI_NODATA:
        cause = "The name exists, and has no address of this kind: /dns4/ wants IPv4, /dns6/ IPv6."
        return fault("name", f"{name} has no such address.", cause=cause, remedy=f"Try /dns/{name}/...")
    return fault(
        "name",
        f"The name {name} is not resolved.",
        cause=cause_of(error),
        remedy="Look whether it is spelt right, or use the address of that peer in numbers: /ip4/.../tcp/...",
    )


def cause_of(error: socket.gaierror | None) -> str:
    """In words, with the servers that were asked."""
    servers = name_servers()
    asked = f"{', '.join(servers)} (from {RESOLVER_FILE})" if servers else f"none: {RESOLVER_FILE} names no server"
    if error is None or error.errno == socket.EAI_AGAIN:
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
