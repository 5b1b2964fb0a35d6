"""Whether a peer can listen where it was asked to, and which program listens there instead.

Owns the port of direct connections as well. Does not know whether anybody reaches these ports.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from gossiptrain.config import NetworkSettings
from gossiptrain.doctor.finding import Finding, fault, fault_of, ok
from gossiptrain.errors import AddressError, PortInUseError
from gossiptrain.monitor.words import printable
from gossiptrain.net.addresses import parse_announce_address, parse_listen_address
from gossiptrain.net.ports import check_listenable

_LISTENING = "0A"
"""The state of a socket that listens, as /proc/net/tcp has it."""
FALLBACK = "/ip4/0.0.0.0/tcp/0"


def check_ports(network: NetworkSettings) -> tuple[list[Finding], tuple[str, ...]]:
    """Findings, and those of the addresses at which a peer can listen now; where none is, any free port."""
    findings, usable = [], []
    for text in network.host_maddrs:
        trouble = _trouble(text)
        if trouble is None:
            usable.append(text)
        else:
            findings.append(trouble)
    if network.direct_port:
        trouble = _trouble(f"/ip4/0.0.0.0/tcp/{network.direct_port}")
        findings += [trouble] if trouble else []
    for text in network.announce_maddrs:
        try:
            parse_announce_address(text)
        except AddressError as error:
            findings.append(fault_of("ports", error))
    if not findings:
        findings.append(ok("ports", f"A peer can listen at {', '.join(network.host_maddrs)}."))
    return findings, tuple(usable) or (FALLBACK,)


def _trouble(text: str) -> Finding | None:
    try:
        address = parse_listen_address(text)
        check_listenable(address)
    except AddressError as error:
        return fault_of("ports", error)
    except PortInUseError as error:
        found = fault_of("ports", error)
        holder = next(holders(address.port), "") if address.transport == "tcp" else ""
        cause = f"The program {holder} listens there." if holder else found.cause
        return fault("ports", found.what, cause=cause, remedy=found.remedy)
    return None


def holders(port: int) -> Iterator[str]:
    """Name and process id of the programs that listen at a TCP port, as far as this user may see them. Linux."""
    wanted = set(_sockets_at(port, [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]))
    if not wanted:
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(handle) in wanted for handle in (folder / "fd").iterdir()):
                name = (folder / "comm").read_text(errors="replace").strip()
                yield f"{printable(name, 40)} (process {folder.name})"


def _sockets_at(port: int, tables: Sequence[Path]) -> Iterator[str]:
    for table in tables:
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"
