"""Two hosts on one computer, joined by a network that can be cut: network namespaces of Linux.

Owns the namespaces, the wires between them, and that nothing of them is left. Needs root. While the network is cut,
packets vanish without a word, as behind a firewall or a broken switch: each host's wire leads to a bridge, the cut
takes one of them out of the bridge, and the hosts know each other's hardware addresses beforehand.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HOSTS = ("11.77.0.1", "11.77.0.2")
"""libp2p passes over private and documentation ranges; these look public, and no packet leaves the computer."""
_HARDWARE = ("02:00:00:00:77:01", "02:00:00:00:77:02")


class TwoHosts:
    """Use `two_hosts`. Programs run on host 0 or 1 by the words of `on` in front of their command."""

    def __init__(self, names: Sequence[str]) -> None:
        self._hosts = names[:2]
        self._switch = names[2]

    def on(self, host: int) -> list[str]:
        """What stands in front of a command to run it on a host; the process id stays that of the command."""
        return ["ip", "netns", "exec", self._hosts[host]]

    def cut(self) -> None:
        """From now on nothing passes between the two hosts, and nobody is told."""
        _run(["ip", "-n", self._switch, "link", "set", "port1", "nomaster"])

    def heal(self) -> None:
        """Everything passes again."""
        _run(["ip", "-n", self._switch, "link", "set", "port1", "master", "switch"])

    def cut_one_way(self) -> None:
        """From now on what host 0 sends does not arrive at host 1; the way back is free."""
        # The switch no longer knows where host 1 is, and does not look for it there.
        _run([*self._port1, "flood", "off", "learning", "off"])
        _run([*self._port1, "fdb_flush"])

    def heal_one_way(self) -> None:
        """The way from host 0 to host 1 is free again."""
        _run([*self._port1, "flood", "on", "learning", "on"])

    def slow_down(self, *, kilobits_per_s: int = 1000) -> None:
        """Each direction carries so much; what does not fit into a short queue is lost."""
        shape = ["tbf", "rate", f"{kilobits_per_s}kbit", "burst", "16kb", "latency", "400ms"]
        for port in ("port0", "port1"):
            _run(["tc", "-n", self._switch, "qdisc", "replace", "dev", port, "root", *shape])

    def speed_up(self) -> None:
        """Takes the limits away."""
        for port in ("port0", "port1"):
            _run(["tc", "-n", self._switch, "qdisc", "delete", "dev", port, "root"])

    @property
    def _port1(self) -> list[str]:
        return ["ip", "-n", self._switch, "link", "set", "port1", "type", "bridge_slave"]

    def build(self) -> None:
        """Makes hosts, switch and wires. Raises OSError where this computer does not allow it."""
        for name in (*self._hosts, self._switch):
            _run(["ip", "netns", "add", name])
        _run(["ip", "-n", self._switch, "link", "add", "switch", "type", "bridge"])
        _run(["ip", "-n", self._switch, "link", "set", "switch", "up"])
        for number, host in enumerate(self._hosts):
            port = f"port{number}"
            _run(["ip", "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host])
            _run(["ip", "-n", self._switch, "link", "set", port, "master", "switch", "up"])
            _run(["ip", "-n", host, "link", "set", "lo", "up"])
            _run(["ip", "-n", host, "link", "set", "eth0", "address", _HARDWARE[number], "up"])
            _run(["ip", "-n", host, "address", "add", f"{HOSTS[number]}/24", "dev", "eth0"])
            other = ["to", HOSTS[1 - number], "lladdr", _HARDWARE[1 - number]]
            _run(["ip", "-n", host, "neighbour", "add", *other, "nud", "permanent", "dev", "eth0"])

    def remove(self) -> None:
        """Takes everything away that was made; processes have to be ended before."""
        for name in (*self._hosts, self._switch):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Two hosts for as long as the block lasts. Raises OSError with the reason where there can be none."""
    if reason := why_not():
        raise OSError(reason)
    mark = secrets.token_hex(3)
    hosts = TwoHosts([f"gossip-{mark}-{part}" for part in ("a", "b", "switch")])
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
    return "" if shutil.which("ip") else "the program ip, of iproute2, is missing"


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
