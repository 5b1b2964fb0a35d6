"""Which ways lead out of this computer, over IPv4 and IPv6.

Owns the questions to the operating system's tables, which send nothing. Does not know what stands on those ways.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

from gossiptrain.doctor.finding import Finding, fault, ok, warning
from gossiptrain.net.listener import IpAddress

OUTSIDE = {4: "198.41.0.4", 6: "2001:503:ba3e::2:30"}
"""Addresses of the internet, those of a root name server. Nothing is sent there; only the way is asked for."""


def source_for(host: IpAddress) -> IpAddress:
    """From which own address this computer would send to `host`; nothing is sent. Raises OSError: there is no way."""
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(host), 9))
        return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])


def own_address(version: int) -> IpAddress | None:
    """The address by which this computer reaches the internet; None where it has no way there."""
    try:
        found = source_for(ipaddress.ip_address(OUTSIDE[version]))
    except OSError:
        return None
    return None if found.is_loopback or found.is_link_local else found


def check_routes() -> list[Finding]:
    """Ways to the internet over IPv4 and IPv6."""
    four, six = own_address(4), own_address(6)
    if four is None and six is None:
        return [
            warning(
                "routes",
                "There is no way to the internet, neither over IPv4 nor over IPv6.",
                cause="No network is connected, or it was given no gateway.",
                remedy="Look at `ip route`. Peers on the own network, or on this computer, can still be reached.",
            )
        ]
    if four is None:
        return [
            warning(
                "routes",
                f"There is no way to the internet over IPv4, only over IPv6 ({six}).",
                cause="The network is of IPv6 alone.",
                remedy="Use peers whose addresses begin with /ip6/, and listen with --host-maddr /ip6/::/tcp/0",
            )
        ]
    ways = f"IPv4 by {four}" + (f", IPv6 by {six}" if six else "")
    findings = [ok("routes", f"There is a way out over {ways}.")]
    if six is None:
        return [*findings, ok("IPv6", "None here. IPv4 is enough, except for peers whose addresses begin with /ip6/.")]
    kind = "a public address" if six.is_global else "addresses of the own network alone"
    return [*findings, ok("IPv6", f"This computer has {kind}: {six}.")]


def why_no_way(host: IpAddress, error: OSError) -> Finding:
    """The finding where the operating system knows no way to a peer's address."""
    here = f"IPv{host.version}"
    other = own_address(10 - host.version)
    if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        cause = f"The system says: {error.strerror}."
        return fault(
            "route", f"There is no way to {host}.", cause=cause, remedy="Ask for another address of that peer."
        )
    if other is not None and own_address(host.version) is None:
        return fault(
            "route",
            f"There is no way to {host}: this computer has no {here}, only IPv{other.version}.",
            cause=f"The network, or the provider, offers no {here}.",
            remedy=f"Ask for an address of that peer that begins with /ip{other.version}/, or use a relay of both.",
        )
    return fault(
        "route",
        f"There is no way to {host} from this computer.",
        cause="The network is not connected, has no gateway, or a rule forbids this destination.",
        remedy=f"Look at `ip route get {host}`; connect to the network, or to the VPN, of that peer.",
    )
