"""A switch between hosts as a program, for kernels that cannot delay and lose packets themselves, and for routers.

    python -m benchmarks.links.packet_switch '{"namespaces": [...], "links": [...], "routers": [...], ...}'

Each host gets a TUN device, of which this process holds the other end. A packet waits for its sender's uplink, travels
for half a round trip, waits for its receiver's downlink, and is dropped where it would wait too long or by chance. The
process says `ready` on its standard output, obeys lines like `cut 1` and `heal 1` on its standard input, and ends with
it. Owns the packets on their way. Does not know who makes the namespaces.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.links.router import Router, RouterKind
from benchmarks.namespaces import DEVICE, Hosts, Link, address_of, run

TUN = "/dev/net/tun"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
MAX_PACKET_BYTES = 65536
PACKETS_AT_ONCE = 32
"""Taken from one host before the next has its turn."""
TICK_S = 0.0003
"""Packets may leave so much late, several at once: sleeping for each of them would fill the processor."""
ORDINARY_MTU, LARGE_MTU = 1500, 9000
PACKETS_PER_S = 15_000
"""So many full packets, and what acknowledges them, this program moves on an ordinary processor with ease. Where all
links together carry more, packets are larger than on most real networks."""
START_S = 10.0
PRIORITY = -10
"""A network is not slower because the computers on it are busy."""


@dataclass
class Port:
    """One host: the other end of its device, and when each direction of its link is free again."""

    device: int
    link: Link
    up_free_s: float = 0.0
    down_free_s: float = 0.0
    is_cut: bool = False
    router: Router | None = None
    """Between the host and everything else."""
    leaving: deque[tuple[float, bytes]] = field(default_factory=deque)
    """Packets with the times at which the downlink has carried them."""

    def up_at(self, size_bytes: int, now_s: float) -> float | None:
        """When the uplink has carried so many bytes that come now; None where its queue has no room."""
        left_s = max(self.up_free_s, now_s) + _seconds(size_bytes, self.link.up_mbit)
        if left_s - now_s > self.link.queue_ms / 1000:
            return None
        self.up_free_s = left_s
        return left_s

    def take_down(self, packet: bytes, now_s: float) -> None:
        """Queues a packet that comes now for the downlink, or drops it."""
        let_in = self.router.inbound(packet) if self.router is not None else packet
        if let_in is None:
            return
        left_s = max(self.down_free_s, now_s) + _seconds(len(packet), self.link.down_mbit)
        if left_s - now_s <= self.link.queue_ms / 1000:
            self.down_free_s = left_s
            self.leaving.append((left_s, let_in))


class PacketSwitch:
    """Moves packets between ports; each call of `step` takes what has come and hands on what is due."""

    def __init__(self, ports: Sequence[Port], *, seed: int) -> None:
        self.ports = ports
        self._by_device = {port.device: port for port in ports}
        self._travelling: list[tuple[float, int, int, bytes]] = []
        """A heap: when they reach the receiver's modem, a number that keeps their order, the receiver, the packet."""
        self._count = 0
        self._random = random.Random(seed)

    def step(self) -> float:
        """Returns for how many seconds nothing is due."""
        now_s = time.monotonic()
        while self._travelling and self._travelling[0][0] <= now_s:
            arrived_s, _, receiver, packet = heapq.heappop(self._travelling)
            self.ports[receiver].take_down(packet, arrived_s)
        next_s = self._travelling[0][0] if self._travelling else now_s + 1.0
        for port in self.ports:
            while port.leaving and port.leaving[0][0] <= now_s:
                _hand_over(port, port.leaving.popleft()[1])
            if port.leaving:
                next_s = min(next_s, port.leaving[0][0])
        return max(0.0, next_s - now_s)

    def receive(self, device: int) -> None:
        """Takes packets that a host sends."""
        port = self._by_device[device]
        for _ in range(PACKETS_AT_ONCE):
            try:
                packet = os.read(device, MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            leaving = port.router.outbound(packet) if port.router is not None else packet
            if leaving is not None:
                self._send(port, leaving)

    def _send(self, port: Port, packet: bytes) -> None:
        receiver = packet[19] - 1 if len(packet) >= 20 and packet[0] >> 4 == 4 else -1
        if not 0 <= receiver < len(self.ports) or port.is_cut or self.ports[receiver].is_cut:
            return
        now_s = time.monotonic()
        left_s = port.up_at(len(packet), now_s)
        if left_s is None or (port.link.loss and self._random.random() < port.link.loss):
            return
        other = self.ports[receiver].link
        self._count += 1
        arrives_s = left_s + (port.link.round_trip_ms + other.round_trip_ms) / 4000
        heapq.heappush(self._travelling, (arrives_s, self._count, receiver, packet))


class PacketSwitchedHosts(Hosts):
    """Hosts that are joined by this program. Use them within `namespaces.built`."""

    def __init__(self, links: Sequence[Link], *, routers: Sequence[RouterKind] = (), seed: int = 0) -> None:
        """routers: what stands between each host and the others; without any, nothing does."""
        super().__init__(len(links))
        self._links = links
        self._routers = routers or ["none"] * len(links)
        self._seed = seed
        self._process: subprocess.Popen[str] | None = None

    def build(self) -> None:
        if not Path(TUN).exists():
            raise OSError(f"this kernel has no netem, and there is no {TUN} to do without it")
        super().build()
        job = {
            "namespaces": self.namespaces,
            "links": [asdict(link) for link in self._links],
            "routers": self._routers,
            "mtu": mtu_for(self._links),
            "seed": self._seed,
        }
        command = [sys.executable, "-m", "benchmarks.links.packet_switch", json.dumps(job)]
        # In a session of its own: an impatient Ctrl+C ends it only with its hosts.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise OSError("the switch between the hosts has not started; its error stands above")

    def remove(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=START_S)
        super().remove()

    def cut(self, host: int = 1) -> None:
        self._tell(f"cut {host}")

    def heal(self, host: int = 1) -> None:
        self._tell(f"heal {host}")

    def _tell(self, command: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()


def mtu_for(links: Sequence[Link]) -> int:
    """The shortest with which this program keeps up, in bytes."""
    bytes_per_s = sum(min(link.up_mbit, link.down_mbit) for link in links) * 1e6 / 8
    return int(min(max(ORDINARY_MTU, bytes_per_s / PACKETS_PER_S), LARGE_MTU))


def _seconds(size_bytes: int, mbit: float) -> float:
    return size_bytes * 8 / (mbit * 1e6)


def _hand_over(port: Port, packet: bytes) -> None:
    try:
        os.write(port.device, packet)
    except BlockingIOError:
        return  # as a network card does whose host is too slow


def open_device(namespace: str, address: str, *, mtu: int) -> int:
    """Makes a TUN device in a namespace and gives the host its address; returns this process's end of it."""
    with _within(namespace):
        device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    run(["ip", "-n", namespace, "link", "set", DEVICE, "mtu", str(mtu), "txqueuelen", "2000", "up"])
    run(["ip", "-n", namespace, "address", "add", f"{address}/24", "dev", DEVICE])
    return device


@contextmanager
def _within(namespace: str) -> Iterator[None]:
    """This thread is in the namespace."""
    library = ctypes.CDLL(None, use_errno=True)
    home, there = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/var/run/netns/{namespace}"))
    try:
        if library.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        yield
    finally:
        library.setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(there)


def _port(host: int, namespace: str, *, link: Link, router: RouterKind, mtu: int) -> Port:
    translates = router not in ("none", "firewall")
    device = open_device(namespace, private_address_of(host) if translates else address_of(host), mtu=mtu)
    run(["ip", "-n", namespace, "route", "replace", "default", "dev", DEVICE])
    return Port(device, link, router=None if router == "none" else Router(router, address_of(host)))


def private_address_of(host: int) -> str:
    """Of a host behind a router that translates."""
    return f"192.168.{host + 1}.2"


def obey(ports: Sequence[Port], line: str) -> None:
    """One command from the standard input."""
    word, host = line.split()
    ports[int(host)].is_cut = word == "cut"


def main() -> None:
    """Reads the job, then moves packets until the standard input ends."""
    job = json.loads(sys.argv[1])
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    ports = [
        _port(host, name, link=Link(**link), router=router, mtu=job["mtu"])
        for host, (name, link, router) in enumerate(zip(job["namespaces"], job["links"], job["routers"], strict=True))
    ]
    switch = PacketSwitch(ports, seed=job["seed"])
    print("ready", flush=True)
    commands = sys.stdin.fileno()
    watched = [commands, *(port.device for port in ports)]
    while True:
        ready, _, _ = select.select(watched, [], [], max(TICK_S, switch.step()))
        for descriptor in ready:
            if descriptor != commands:
                switch.receive(descriptor)
                continue
            line = os.read(commands, 64).decode()
            if not line:
                return
            obey(ports, line)
            print("done", flush=True)


if __name__ == "__main__":
    main()
