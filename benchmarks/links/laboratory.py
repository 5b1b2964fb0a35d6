"""Hosts with links as people have them, whichever way this computer can make them.

Owns the choice between the kernel's own means and a switch as a program, and the congestion control of the hosts. Does
not know what runs on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.links.packet_switch import PacketSwitchedHosts
from benchmarks.namespaces import Hosts, Link, built, has_netem, run, switched_hosts, why_not


@contextmanager
def laboratory(links: Sequence[Link], *, congestion: str = "") -> Iterator[Hosts]:
    """One host for each link, for as long as the block lasts. Raises OSError with the reason where there can be none.

    congestion: by which TCP on the hosts adapts to the links, like `cubic`; without a name as this system does.
    """
    if reason := why_not():
        raise OSError(reason)
    if any(link.needs_netem for link in links) and not has_netem():
        with built(PacketSwitchedHosts(links)) as hosts:
            _choose(hosts, congestion)
            yield hosts
    else:
        with switched_hosts(len(links), links) as hosts:
            _choose(hosts, congestion)
            yield hosts


def _choose(hosts: Hosts, congestion: str) -> None:
    if not congestion:
        return
    for host in range(len(hosts.namespaces)):
        try:
            run([*hosts.on(host), "sysctl", "-w", f"net.ipv4.tcp_congestion_control={congestion}"])
        except OSError as error:
            raise OSError(
                f"hosts cannot use {congestion}: {error}. The kernel may lack it, or keep it for the computer itself; "
                "net.ipv4.tcp_allowed_congestion_control names those that it gives away"
            ) from error
