"""How soon peers train together that start at one moment, and again after all were killed and resumed at one moment.

    python -m benchmarks.starts
    python -m benchmarks.starts --peers 4 --repetitions 3

So many `gossip train digits` processes are started at once, each with the addresses of all others as initial peers:
none of them is there when the first one asks. Timed from the moment at which the last of them can be reached (its
`started` event) until each has had a round with all others. Then all get SIGKILL, and each run folder is resumed
without another flag. Exits with 1 where a round of all did not come within `--within` seconds.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import machine, show_table, summary, whole_number
from benchmarks.peer_processes import GOSSIP, events_of, start_peer, started_processes
from gossiptrain.net.identity import Identity

GIVE_UP_S = 120.0
POLL_S = 0.05
FLAGS = ("--threads", "1", "--preset", "local", "--every-steps", "50", "--eval-every", "0", "--max-steps", "100000000")


@dataclass(frozen=True)
class Start:
    """from_launch_s, from_ready_s: until a round of all, since the processes were started, and could all be reached."""

    how: str
    peers: int
    from_launch_s: float
    from_ready_s: float


def start_and_resume(peers: int, *, folder: Path) -> list[Start]:
    """Both starts of one swarm."""
    ports = free_ports(peers)
    ids = [new_identity(folder / f"{number}.key") for number in range(peers)]
    places = [f"/ip4/127.0.0.1/tcp/{port}" for port in ports]
    folders = [folder / str(number) for number in range(peers)]
    with started_processes() as processes:
        for number, out in enumerate(folders):
            own = [*FLAGS, "--host-maddr", places[number], "--identity", str(folder / f"{number}.key")]
            for other in range(peers):
                if other != number:
                    own += ["--initial-peer", f"{places[other]}/p2p/{ids[other]}"]
            processes.append(start_peer("digits", own, out=out))
        first = timed("started", folders, processes)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
    with started_processes() as processes:
        for out in folders:
            command = [*GOSSIP, "train", "digits", "--resume", str(out), "--log-format", "plain"]
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        return [first, timed("resumed", folders, processes)]


def timed(how: str, folders: Sequence[Path], processes: Sequence[subprocess.Popen[bytes]]) -> Start:
    """Waits until each peer has told of a round with all, since it was started. Raises RuntimeError where one ends."""
    before = [len(events_of(out)) for out in folders] if how == "resumed" else [0] * len(folders)
    launched_s = time.monotonic()
    ready_s = None
    while time.monotonic() - launched_s < GIVE_UP_S:
        if any(process.poll() is not None for process in processes):
            raise RuntimeError(f"a peer ended with {[process.poll() for process in processes]}")
        told = [events_of(out)[since:] for out, since in zip(folders, before, strict=True)]
        if ready_s is None and all(any(event["event"] == "started" for event in of_one) for of_one in told):
            ready_s = time.monotonic()
        if ready_s is not None and all(has_met_all(of_one, len(folders)) for of_one in told):
            now_s = time.monotonic()
            return Start(how, len(folders), now_s - launched_s, now_s - ready_s)
        time.sleep(POLL_S)
    return Start(how, len(folders), GIVE_UP_S, GIVE_UP_S)


def has_met_all(events: Sequence[dict[str, object]], peers: int) -> bool:
    """Whether one of the events is a committed round of so many."""
    return any(event["event"] == "round" and len(event["members"]) == peers for event in events)  # type: ignore[arg-type]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def new_identity(path: Path) -> str:
    """Makes a key file, and says which peer it makes."""
    with Identity.load_or_create(path) as identity:
        return identity.peer_id


def main() -> int:
    """Runs all repetitions, tells each at once, and the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", type=whole_number(2, 64), default=[2, 4, 8])
    parser.add_argument("--repetitions", type=whole_number(1), default=20)
    parser.add_argument("--within", type=float, default=10.0, metavar="SECONDS")
    given = parser.parse_args()
    found: list[Start] = []
    for peers in given.peers:
        for _ in range(given.repetitions):
            with tempfile.TemporaryDirectory(prefix="gossiptrain-starts-") as folder:
                found += start_and_resume(peers, folder=Path(folder))
            for start in found[-2:]:
                print(f"{start.peers} {start.how}: {start.from_ready_s:.1f} s, {start.from_launch_s:.1f} s in all")
            sys.stdout.flush()
    rows = []
    for how, peers in sorted({(start.how, start.peers) for start in found}):
        of_kind = [start for start in found if (start.how, start.peers) == (how, peers)]
        ready, launch = (summary([getattr(s, name) for s in of_kind]) for name in ("from_ready_s", "from_launch_s"))
        in_time = sum(start.from_ready_s <= given.within for start in of_kind)
        figures = [f"{ready.median:.1f}", f"{ready.maximum:.1f}", f"{launch.median:.1f}"]
        rows.append([f"{peers} {how}", str(len(of_kind)), str(in_time), *figures])
    print(machine())
    columns = ["peers", "times", f"within {given.within:g} s", "median, s", "longest, s", "from launch, s"]
    show_table("A round of all, after all can be reached", columns, rows)
    return int(any(start.from_ready_s > given.within for start in found))


if __name__ == "__main__":
    sys.exit(main())
