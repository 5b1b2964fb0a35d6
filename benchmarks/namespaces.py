"""Hosts on one computer, each a network namespace of Linux, joined by links as people have them.

Owns the namespaces, the kernel's wires between them, and that nothing of them is left. Needs root. Each host has a
modem, a bridge of its own, which leads to the switch of all: what the host sends waits at the modem for the uplink, and
what it receives waits there for the downlink, so that no host sees its own queue, as at home. While a host is cut off
packets vanish without a word, as behind a firewall or a broken switch; so hosts know each other's hardware addresses
beforehand. Delay and loss need the kernel's netem; `links.packet_switch` is for kernels without it.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

HostsT = TypeVar("HostsT", bound="Hosts")
DEVICE = "eth0"
"""The only way out of each host."""
BURST_BYTES = 16 << 10
"""A token bucket lets so many bytes pass at once, or those of a millisecond, whichever is more."""


@dataclass(frozen=True)
class Link:
    """What joins one host to all others. The delay and the losses of two hosts' links are shared between them.

    round_trip_ms: between two hosts with such links, while queues are empty. queue_ms: longest wait for the uplink, and
    for the downlink, before packets are dropped. loss: share of packets that are lost on the way for no reason.
    """

    up_mbit: float
    down_mbit: float
    queue_ms: float = 50.0
    round_trip_ms: float = 0.0
    loss: float = 0.0

    @property
    def needs_netem(self) -> bool:
        """Whether token buckets alone cannot make it."""
        return bool(self.round_trip_ms or self.loss)


def address_of(host: int) -> str:
    """libp2p passes over private and documentation ranges; these look public, and no packet leaves the computer."""
    return f"11.77.0.{host + 1}"


class Hosts(ABC):
    """Namespaces; the kinds differ in how they are joined. Programs run on a host by the words of `on` in front of
    their command."""

    def __init__(self, count: int) -> None:
        self._mark = f"gossip-{secrets.token_hex(3)}"
        self.namespaces = [f"{self._mark}-{host}" for host in range(count)]

    def on(self, host: int) -> list[str]:
        """What stands in front of a command to run it on a host; the process id stays that of the command."""
        return ["ip", "netns", "exec", self.namespaces[host]]

    def build(self) -> None:
        """Makes the hosts and what joins them. Raises OSError where this computer does not allow it."""
        for name in self.namespaces:
            run(["ip", "netns", "add", name])
            run(["ip", "-n", name, "link", "set", "lo", "up"])

    def remove(self) -> None:
        """Takes everything away that was made; processes have to be ended before."""
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    @abstractmethod
    def cut(self, host: int = 1) -> None:
        """From now on nothing passes between this host and the others, and nobody is told."""

    @abstractmethod
    def heal(self, host: int = 1) -> None:
        """Everything passes again."""


class SwitchedHosts(Hosts):
    """Hosts that are joined by the kernel alone. Use `switched_hosts`."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._switch = f"{self._mark}-switch"

    def cut(self, host: int = 1) -> None:
        run(["ip", "-n", self._switch, "link", "set", f"core{host}", "nomaster"])

    def heal(self, host: int = 1) -> None:
        run(["ip", "-n", self._switch, "link", "set", f"core{host}", "master", "switch"])

    def cut_one_way(self, host: int = 1) -> None:
        """From now on what the others send does not arrive at this host; the way back is free."""
        # The switch no longer knows where the host is, and does not look for it there.
        run([*self._core(host), "flood", "off", "learning", "off"])
        run([*self._core(host), "fdb_flush"])

    def heal_one_way(self, host: int = 1) -> None:
        """The way to this host is free again."""
        run([*self._core(host), "flood", "on", "learning", "on"])

    def slow_down(self, *, mbit: float = 1.0) -> None:
        """Each direction of all links carries so much; what does not fit into a short queue is lost."""
        for host in range(len(self.namespaces)):
            self.shape(host, Link(mbit, mbit, queue_ms=400.0))

    def speed_up(self) -> None:
        """Takes the limits away."""
        for host in range(len(self.namespaces)):
            for device in (f"port{host}", f"up{host}"):
                run(["tc", "-n", self._switch, "qdisc", "delete", "dev", device, "root"])

    def shape(self, host: int, link: Link) -> None:
        """From now on the host has such a link. Raises OSError where the kernel lacks what it takes."""
        for device, mbit in ((f"up{host}", link.up_mbit), (f"port{host}", link.down_mbit)):
            burst_bytes = max(BURST_BYTES, int(mbit * 1e6 / 8 / 1000))
            bucket = ["tbf", "rate", f"{mbit:.3f}mbit", "burst", f"{burst_bytes}", "latency", f"{link.queue_ms:g}ms"]
            run(["tc", "-n", self._switch, "qdisc", "replace", "dev", device, "root", *bucket])
        if link.needs_netem:
            on_the_way = int(link.down_mbit * 1e6 / 8 * link.round_trip_ms / 1000 / 500) + 1000
            way = ["delay", f"{link.round_trip_ms / 2:g}ms", "loss", f"{100 * link.loss:g}%", "limit", f"{on_the_way}"]
            run(["tc", "-n", self._switch, "qdisc", "replace", "dev", f"core{host}", "root", "netem", *way])

    def build(self) -> None:
        super().build()
        run(["ip", "netns", "add", self._switch])
        self._bridge("switch")
        for host, name in enumerate(self.namespaces):
            self._bridge(f"modem{host}")
            self._wire(f"port{host}", ["name", DEVICE, "netns", name])
            self._wire(f"up{host}", ["name", f"core{host}"])
            for device, bridge in (
                (f"port{host}", f"modem{host}"),
                (f"up{host}", f"modem{host}"),
                (f"core{host}", "switch"),
            ):
                run(["ip", "-n", self._switch, "link", "set", device, "master", bridge, "up"])
            run(["ip", "-n", name, "link", "set", DEVICE, "address", _hardware_address(host), "up"])
            run(["ip", "-n", name, "address", "add", f"{address_of(host)}/24", "dev", DEVICE])
            for other in range(len(self.namespaces)):
                known = ["to", address_of(other), "lladdr", _hardware_address(other), "nud", "permanent"]
                run(["ip", "-n", name, "neighbour", "replace", *known, "dev", DEVICE])

    def remove(self) -> None:
        super().remove()
        subprocess.run(["ip", "netns", "delete", self._switch], check=False, capture_output=True)

    def _bridge(self, name: str) -> None:
        run(["ip", "-n", self._switch, "link", "add", name, "type", "bridge"])
        run(["ip", "-n", self._switch, "link", "set", name, "up"])

    def _wire(self, name: str, other_end: Sequence[str]) -> None:
        run(["ip", "-n", self._switch, "link", "add", name, "type", "veth", "peer", *other_end])

    def _core(self, host: int) -> list[str]:
        return ["ip", "-n", self._switch, "link", "set", f"core{host}", "type", "bridge_slave"]


@contextmanager
def switched_hosts(count: int, links: Sequence[Link] = ()) -> Iterator[SwitchedHosts]:
    """Hosts for as long as the block lasts. Raises OSError with the reason where there can be none.

    links: one for each host; without any, nothing limits them.
    """
    with built(SwitchedHosts(count)) as hosts:
        for host, link in enumerate(links):
            hosts.shape(host, link)
        yield hosts


@contextmanager
def built(hosts: HostsT) -> Iterator[HostsT]:
    """Hosts that are there while the block lasts. Raises OSError with the reason where there can be none."""
    if reason := why_not():
        raise OSError(reason)
    try:
        hosts.build()
        yield hosts
    finally:
        hosts.remove()


def why_not() -> str:
    """Why this computer can make no network namespaces; empty where nothing speaks against it."""
    if platform.system() != "Linux":
        return "network namespaces are a part of Linux"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    return "" if shutil.which("ip") and shutil.which("tc") else "the programs ip and tc, of iproute2, are missing"


def has_netem() -> bool:
    """Whether this kernel can delay and lose packets."""
    name = f"gossip-{secrets.token_hex(3)}-netem"
    run(["ip", "netns", "add", name])
    try:
        run(["tc", "-n", name, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])
    except OSError:
        return False
    finally:
        run(["ip", "netns", "delete", name])
    return True


def run(command: Sequence[str]) -> None:
    """Runs a program to its end. Raises OSError with its words where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def _hardware_address(host: int) -> str:
    return f"02:00:00:00:77:{host + 1:02x}"
