"""What the page costs and how soon it shows things, with real peers: `python -m benchmarks.page`.

Peers train digits on this computer, each with a page. Measured are: from the start of a peer until its page answers,
and until it can be reached; from SIGKILL of a peer until every other page shows it red; the bytes of the messages that
watch in a second, at one peer, sent and received; the processor time of a step of a peer while its page is read once a
second, and while nobody reads, in windows of one run that take turns; and, with events that are told and not trained,
the processor time of folding and of serving, as a share of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.page.story import BEGIN, Story
from benchmarks.peer_processes import GOSSIP, START_S, address_of, events_of, started_processes
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.page.place import LOOPBACK, Place
from gossiptrain.monitor.page.server import FRESH_S, PageServer

WATCHING = ("StatusRequest", "MemberStatus")
SETTLE_S = 20.0
WINDOW_S = 4.0
READING = (0, 3)
"""Of each four windows: whatever changes slowly so touches both kinds alike."""
POLL_S = 0.05


@dataclass
class Figure:
    """One line of the table. bound: what it is to stay below, in its unit; None where nothing was promised."""

    what: str
    samples: list[float]
    unit: str
    bound: float | None = None

    @property
    def worst(self) -> float:
        """What is compared with the bound."""
        return max(self.samples)


def free_port() -> int:
    """A port of this computer at which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PagePeer:
    """A peer with a page."""

    def __init__(self, folder: Path, number: int, flags: Sequence[str]) -> None:
        self.out = folder / str(number)
        self.trace = folder / f"{number}.trace"
        self.url = f"http://127.0.0.1:{free_port()}/swarm.json"
        port = self.url.rpartition(":")[2].partition("/")[0]
        command = [*GOSSIP, "train", "digits", *flags, "--out", str(self.out), "--log-format", "plain"]
        command += ["--page", port, "--trace", str(self.trace), "--threads", "1", "--device", "cpu"]
        self.began_s = time.time()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def swarm(self) -> dict[str, Any] | None:
        """What its page shows; None where it does not answer."""
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                told: dict[str, Any] = json.load(answer)
                return told
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def up_s(self) -> float:
        """Seconds from its start until its page answers."""
        while self.swarm() is None:
            if self.process.poll() is not None or time.time() - self.began_s > START_S:
                raise RuntimeError("a page did not come")
            time.sleep(POLL_S)
        return time.time() - self.began_s

    def watching_bytes(self, since_s: float) -> float:
        """Bytes of the messages by which it watches and is watched, since a unix time."""
        moved = 0
        for line in self.trace.read_text().splitlines():
            told = json.loads(line)
            if told["kind"] in WATCHING and told["time"] >= since_s:
                moved += len(json.dumps(told["message"], separators=(",", ":"))) + len(told["kind"]) + 5
        return float(moved)


def with_real_peers(peers: int, kills: int, windows: int, folder: Path) -> list[Figure]:
    """All figures that real peers give."""
    flags = ["--max-steps", "100000000", "--host-maddr", "/ip4/127.0.0.1/tcp/0", "--matchmaking-time", "1"]
    with started_processes() as processes:
        first = PagePeer(folder, 0, flags)
        processes.append(first.process)
        ups = [first.up_s()]
        joining = [*flags, "--initial-peer", address_of(first.out, first.process)]
        reached = [_started_s(first)]
        alive = [first]
        for number in range(1, peers):
            alive.append(PagePeer(folder, number, joining))
            processes.append(alive[-1].process)
        for peer in alive[1:]:
            ups.append(peer.up_s())
        reached += [_started_s(peer) for peer in alive[1:]]
        _until_all_know_all(alive)
        time.sleep(SETTLE_S)
        since_s = time.time()
        ratios = _steps_with_a_reader(first, windows)
        rates = [peer.watching_bytes(since_s) / (time.time() - since_s) for peer in alive]
        reds: list[float] = []
        for _ in range(min(kills, peers - 1)):
            reds.append(_red_s(alive.pop(), alive))
            time.sleep(2.0)
    return [
        Figure("from the start of a peer to its page", ups, "s"),
        Figure(
            "from a peer that can be reached to its page", [u - r for u, r in zip(ups, reached, strict=True)], "s", 2.0
        ),
        Figure("from SIGKILL to red on all other pages", reds, "s", 5.0),
        Figure("watching and being watched, at each peer", rates, "B/s", 1000.0),
        Figure("more processor time of a step while a page is read", [100 * (ratio - 1) for ratio in ratios], "%"),
    ]


def _started_s(peer: PagePeer) -> float:
    address_of(peer.out, peer.process)
    return float(events_of(peer.out)[0]["time"]) - peer.began_s


def _until_all_know_all(peers: Sequence[PagePeer]) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        pages = [peer.swarm() or {"peers": []} for peer in peers]
        if all([each["state"] for each in page["peers"]].count("training") == len(peers) for page in pages):
            return
        time.sleep(0.2)
    raise RuntimeError("the pages did not come to show all peers")


def _red_s(victim: PagePeer, others: Sequence[PagePeer]) -> float:
    identity = next(each["id"] for each in (victim.swarm() or {})["peers"] if each["own"])
    victim.process.kill()
    began_s = time.monotonic()
    waiting = list(others)
    while waiting:
        page = waiting[0].swarm() or {"peers": []}
        if any(each["id"] == identity and each["state"] == "lost" for each in page["peers"]):
            waiting.pop(0)
        elif time.monotonic() - began_s > START_S:
            raise RuntimeError("a killed peer was not shown")
        else:
            time.sleep(POLL_S)
    victim.process.wait()
    return time.monotonic() - began_s


def _steps_with_a_reader(peer: PagePeer, windows: int) -> list[float]:
    """By pair of windows, the processor time of a step of the trainer with a reader to that without."""
    edges = [(time.time(), _cpu_s(peer.process.pid))]
    for number in range(2 * windows):
        until_s = time.time() + WINDOW_S
        while time.time() < until_s:
            if number % 4 in READING:
                peer.swarm()
            time.sleep(min(1.0, max(0.0, until_s - time.time())))
        edges.append((time.time(), _cpu_s(peer.process.pid)))
    steps = [event for event in events_of(peer.out) if event["event"] == "step"]
    times, numbers = [each["time"] for each in steps], [each["step"] for each in steps]
    made = np.interp([at_s for at_s, _ in edges], times, numbers)
    costs = np.diff([cpu_s for _, cpu_s in edges]) / np.diff(made)
    pairs = zip(costs[::2], costs[1::2], strict=True)
    return [float(a / b if number % 2 == 0 else b / a) for number, (a, b) in enumerate(pairs)]


def _cpu_s(pid: int) -> float:
    """Processor time of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told_and_not_trained(peers: int, *, seconds: int = 120, requests: int = 20) -> list[Figure]:
    """Processor time of the training process, of a swarm of so many, as a share of one core."""
    events = list(Story(peers, seconds=seconds, group=4 if peers <= 16 else 8).events())
    picture = SwarmPicture("peer", clock=lambda: BEGIN)
    began_s = time.thread_time()
    for event in events:
        picture.handle(event)
    folding = 100 * (time.thread_time() - began_s) / seconds
    pause_s = 1.0 if peers <= 24 else 2.0  # as the page asks
    serving = 100 * _request_s(picture, requests) / pause_s
    return [
        Figure(f"folding events of {peers} peers, of a core", [folding], "%", 1.0),
        Figure(f"serving {peers} peers to a page, of a core", [serving], "%", 1.0),
    ]


def _request_s(picture: SwarmPicture, requests: int) -> float:
    """Processor time of this process for one request that another one makes, snapshot, threads and all."""
    server = PageServer(Place(LOOPBACK, (0,)), picture.snapshot)
    script = (
        "import sys, time, urllib.request\n"
        f"for _ in range({requests}):\n"
        f"    urllib.request.urlopen(sys.argv[1]).read(); time.sleep({FRESH_S + 0.01})\n"
    )
    began_s = time.process_time()
    try:
        subprocess.run([sys.executable, "-c", script, f"{server.url}swarm.json"], check=True)
        return (time.process_time() - began_s) / requests
    finally:
        server.close()


def main() -> int:
    """Ends with 1 where a figure is beyond what is promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=whole_number(2, 32), default=4)
    parser.add_argument("--kills", type=whole_number(1), default=2)
    parser.add_argument("--windows", type=whole_number(1), default=4)
    parser.add_argument("--told-only", action="store_true", help="leave the real peers out")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    measured_on = machine()
    figures = [figure for peers in (4, 64) for figure in told_and_not_trained(peers)]
    if not given.told_only:
        with tempfile.TemporaryDirectory(prefix="gossiptrain-page-") as folder:
            figures = [*with_real_peers(given.peers, given.kills, given.windows, Path(folder)), *figures]
    print(measured_on)
    rows = []
    for figure in figures:
        middle, bound = statistics.median(figure.samples), figure.bound
        spread = f"{min(figure.samples):.3g} to {figure.worst:.3g}"
        rows.append(
            [figure.what, f"{middle:.3g} {figure.unit}", spread, "" if bound is None else f"{bound:g} {figure.unit}"]
        )
    show_table("The page", ["what", "median", "least to most", "promised"], rows)
    if given.json is not None:
        write_json(given.json, benchmark="page", measured_on=measured_on, results=figures)
    return int(any(figure.bound is not None and figure.worst > figure.bound for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
