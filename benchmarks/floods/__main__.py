"""What strangers who flood a peer cost it: its speed, its rounds, its memory.

    python -m benchmarks.floods
    python -m benchmarks.floods streams loris --seconds 30 --streams 2000

Three `gossip train digits` of one private swarm on this computer. One of them, the victim, has a core for itself, its
node and its daemon; the others and the flood, a process of its own with no link and the lowest priority, share the
rest. For each kind of flood: the victim's steps in a second before, meanwhile and after; what node and daemon take more
of memory and processor; and the rounds that the victim commits. The ratio is that of the speed meanwhile to the mean of
before and after, so that other work on the computer counts little; on a busy one it is not to be believed. Exits with 1
where it is below 0.9, memory grows by more than 64 MB, or no round is committed for 30 s.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.floods.attacks import KINDS
from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.overhead.processes import pss
from benchmarks.peer_processes import Event, address_of, events_of, start_peer, started_processes
from benchmarks.speaking_process import SpeakingProcess
from gossiptrain.net.addresses import parse_dial_address
from gossiptrain.net.silent_process import processor_s

PEERS = 3
QUIET_S = 15.0
SETTLED_S = 10.0
POLL_S = 0.5
LEAST_KEPT = 0.9
MOST_GROWTH_MB = 64.0
LONGEST_GAP_S = 30.0
GIVE_UP_S = 180.0


@dataclass(frozen=True)
class Result:
    """One flood. kept: the victim's speed, relative to before and after. growth_mb: at most, node and daemon together.

    busy: how many seconds of a core node and daemon took in one second, less what they took before. rounds:
    committed meanwhile. longest_gap_s: between two of them. did: what the flood says of itself.
    """

    kind: str
    seconds: float
    steps_per_s_before: float
    steps_per_s: float
    steps_per_s_after: float
    kept: float
    node_mb: float
    node_growth_mb: float
    daemon_mb: float
    daemon_growth_mb: float
    busy: float
    rounds: int
    longest_gap_s: float
    did: dict[str, int]

    @property
    def is_borne(self) -> bool:
        """Whether it costs no more than is promised."""
        growth_mb = self.node_growth_mb + self.daemon_growth_mb
        return self.kept >= LEAST_KEPT and growth_mb <= MOST_GROWTH_MB and self.longest_gap_s <= LONGEST_GAP_S


@dataclass
class Victim:
    """The peer that is flooded: its processes and its run folder."""

    trainer: int
    folder: Path
    address: str

    @property
    def node(self) -> int:
        return _child(self.trainer)

    @property
    def daemon(self) -> int:
        return _child(self.node)

    def memory_mb(self) -> tuple[float, float]:
        """Of node and daemon."""
        return pss(self.node)[0] / 1e6, pss(self.daemon)[0] / 1e6

    def processor_s(self) -> float:
        """Of node and daemon together."""
        return sum(processor_s(pid) or 0.0 for pid in (self.node, self.daemon))


@dataclass(frozen=True)
class Course:
    """What was seen in a stretch of time."""

    began_s: float
    ended_s: float
    node_mb: float
    daemon_mb: float
    processor_s: float


def _child(parent: int) -> int:
    found = [pid for tasks in Path(f"/proc/{parent}/task").glob("*/children") for pid in tasks.read_text().split()]
    if not found:
        raise RuntimeError(f"process {parent} has lost its child")
    return int(found[0])


def watch(victim: Victim, seconds: float) -> Course:
    """Memory at its most, and processor time, over so many seconds."""
    began_s, before_s = time.time(), victim.processor_s()
    node_mb = daemon_mb = 0.0
    while time.time() < began_s + seconds:
        time.sleep(POLL_S)
        node, daemon = victim.memory_mb()
        node_mb, daemon_mb = max(node_mb, node), max(daemon_mb, daemon)
    return Course(began_s, time.time(), node_mb, daemon_mb, victim.processor_s() - before_s)


def speed(events: Sequence[Event], course: Course) -> float:
    """Steps in a second, between the first and the last that were told in that time."""
    told = [event for event in events if event["event"] == "step" and course.began_s <= event["time"] <= course.ended_s]
    if len(told) < 2:
        return 0.0
    return float((told[-1]["step"] - told[0]["step"]) / (told[-1]["time"] - told[0]["time"]))


def rounds(events: Sequence[Event], course: Course) -> list[float]:
    """When rounds were committed in that time."""
    times = [float(event["time"]) for event in events if event["event"] == "round"]
    return [time_s for time_s in times if course.began_s <= time_s <= course.ended_s]


def flood(victim: Victim, kind: str, *, count: int, seconds: float, niceness: int = 19) -> Result:
    """One flood, with quiet times before and after. Raises RuntimeError where the victim ends."""
    address = parse_dial_address(victim.address)
    ports = ["--port", str(address.port), "--direct-port", str(_direct_port(victim, address.port))]
    command = [sys.executable, "-m", "benchmarks.floods.attacks", kind, "--host", address.host, *ports]
    asked = ["--count", str(count), "--seconds", str(seconds), "--niceness", str(niceness)]
    before = watch(victim, QUIET_S)
    attacker = SpeakingProcess([*command, *asked])
    try:
        attacker.wait_for("began", longest_s=60.0)
        during = watch(victim, seconds)
        did = attacker.wait_for("ended", longest_s=60.0)
    finally:
        attacker.close()
    time.sleep(SETTLED_S)
    after = watch(victim, QUIET_S)
    return _result(kind, events_of(victim.folder), (before, during, after), did=did)


def _result(kind: str, events: Sequence[Event], courses: tuple[Course, Course, Course], *, did: Event) -> Result:
    before, during, _ = courses
    speeds = [speed(events, course) for course in courses]
    committed = rounds(events, during)
    times = [during.began_s, *committed, during.ended_s]
    seconds = during.ended_s - during.began_s
    usual = before.processor_s / (before.ended_s - before.began_s)
    return Result(
        kind=kind,
        seconds=seconds,
        steps_per_s_before=speeds[0],
        steps_per_s=speeds[1],
        steps_per_s_after=speeds[2],
        kept=speeds[1] / ((speeds[0] + speeds[2]) / 2 or 1.0),
        node_mb=during.node_mb,
        node_growth_mb=during.node_mb - before.node_mb,
        daemon_mb=during.daemon_mb,
        daemon_growth_mb=during.daemon_mb - before.daemon_mb,
        busy=during.processor_s / seconds - usual,
        rounds=len(committed),
        longest_gap_s=max(later - earlier for earlier, later in itertools.pairwise(times)),
        did={what: number for what, number in did.items() if what != "what"},
    )


def _direct_port(victim: Victim, daemon_port: int) -> int:
    """Where the node accepts direct connections: the port at which it listens."""
    sockets = {os.readlink(entry) for entry in Path(f"/proc/{victim.node}/fd").iterdir() if entry.is_symlink()}
    for row in Path(f"/proc/{victim.node}/net/tcp").read_text().splitlines()[1:]:
        cells = row.split()
        port = int(cells[1].rpartition(":")[2], 16)
        if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets and port != daemon_port:
            return port
    return 0


@contextmanager
def swarm(folder: Path) -> Iterator[Victim]:
    """Real peers that train, of which the first is the victim."""
    cores = sorted(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    flags = ["--host-maddr", "/ip4/127.0.0.1/tcp/0", "--epochs", "1000000", "--every-seconds", "1", "--preset", "local"]
    with started_processes() as processes:
        os.sched_setaffinity(0, {cores[0]})
        processes.append(start_peer("digits", flags, out=folder / "0"))
        os.sched_setaffinity(0, set(cores[1:]) or set(cores))
        address = address_of(folder / "0", processes[0])
        for number in range(1, PEERS):
            own = [*flags, "--initial-peer", address]
            processes.append(start_peer("digits", own, out=folder / str(number)))
        until_s = time.monotonic() + GIVE_UP_S
        while not any(len(event.get("members", ())) == PEERS for event in events_of(folder / "0")):
            if time.monotonic() > until_s:
                raise RuntimeError("the peers have not met")
            time.sleep(POLL_S)
        yield Victim(processes[0].pid, folder / "0", address)


def show(results: Sequence[Result]) -> None:
    """A table, one row for each flood."""
    rows = [
        [
            one.kind,
            f"{one.steps_per_s_before:.0f}, {one.steps_per_s:.0f}, {one.steps_per_s_after:.0f}",
            f"{one.kept:.0%}",
            f"{one.node_mb:.0f} (+{max(0.0, one.node_growth_mb):.0f})",
            f"{one.daemon_mb:.0f} (+{max(0.0, one.daemon_growth_mb):.0f})",
            f"{one.busy:.1%}",
            f"{one.rounds} ({one.longest_gap_s:.1f} s)",
            ", ".join(f"{number:,} {what}" for what, number in one.did.items()),
        ]
        for one in results
    ]
    columns = ["flood", "steps/s before, meanwhile, after", "kept", "node MB", "daemon MB"]
    show_table("floods", [*columns, "more of a core", "rounds (gap)", "it came to"], rows)


def main() -> int:
    """Runs the floods that are asked for, one after another, against one swarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar=f"{{{','.join(KINDS)}}}", help="(all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each (60)")
    parser.add_argument("--streams", type=whole_number(1), default=20_000, help="(20,000)")
    parser.add_argument("--identities", type=whole_number(1), default=10_000, help="(10,000)")
    parser.add_argument("--connections", type=whole_number(1), default=4_000, help="(4,000)")
    parser.add_argument("--niceness", type=whole_number(0, 19), default=19, help="of the flood (19: only spare time)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"there is no flood {', '.join(sorted(unknown))}")
    counts = {"identities": given.identities, "connections": given.connections}
    where, results = machine(), []
    with tempfile.TemporaryDirectory(prefix="gossiptrain-floods-") as name, swarm(Path(name)) as victim:
        for kind in given.kinds or KINDS:
            count = counts.get(kind, given.streams)
            results.append(flood(victim, kind, count=count, seconds=given.seconds, niceness=given.niceness))
            show(results[-1:])
    show(results)
    if given.json is not None:
        write_json(given.json, benchmark="floods", measured_on=where, results=results)
    return int(not all(one.is_borne for one in results))


if __name__ == "__main__":
    sys.exit(main())
