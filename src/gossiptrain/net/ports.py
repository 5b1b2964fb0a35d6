"""Whether this computer can listen at an address.

Owns the questions to the operating system before and after the daemon starts, which may share a port or go on without
one and say nothing. Does not know the daemon.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from gossiptrain.errors import ASK_THE_DOCTOR, AddressError, PortInUseError
from gossiptrain.net.addresses import Address, readable_addresses


def check_listenable(address: Address) -> None:
    """Raises PortInUseError where another program listens at `address`, AddressError where nobody can."""
    family = socket.AF_INET6 if address.host_kind == "ip6" else socket.AF_INET
    kind = socket.SOCK_DGRAM if address.transport == "udp" else socket.SOCK_STREAM
    try:
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                # Connections that have just ended do not count; a program that listens does.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        raise _refusal(address, error) from error


def check_listening(asked: Sequence[Address], visible: Sequence[str]) -> None:
    """Compares the ports that were asked for with those under which the daemon listens. Raises PortInUseError."""
    open_ports = {(found.transport, found.port) for found in readable_addresses(visible)}
    for address in asked:
        if address.port and (address.transport, address.port) not in open_ports:
            raise port_in_use(address)


def port_in_use(address: Address) -> PortInUseError:
    """The error for a port that another program has."""
    return PortInUseError(
        f"Port {address.port} is in use: this peer cannot listen at {address.text}.",
        cause="Another program, perhaps another peer, listens there.",
        remedy=f"Stop it, or choose another port; port 0 takes any free one. {ASK_THE_DOCTOR}",
    )


def _refusal(address: Address, error: OSError) -> AddressError | PortInUseError:
    match error.errno:
        case errno.EADDRINUSE:
            return port_in_use(address)
        case errno.EADDRNOTAVAIL:
            cause = "No network interface of this computer has this address."
        case errno.EACCES:
            cause = "Ports below 1024 need a privileged user."
        case errno.EAFNOSUPPORT:
            cause = f"This computer has no IPv{address.host_kind[-1]}."
        case _:
            cause = f"The system says: {error.strerror}."
    remedy = f"/ip4/0.0.0.0/tcp/0 listens on every interface at any free port. {ASK_THE_DOCTOR}"
    return AddressError(f"This peer cannot listen at {address.text}.", cause=cause, remedy=remedy)
