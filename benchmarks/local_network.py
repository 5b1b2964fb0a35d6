"""How soon two peers that were given no address meet on a local network.

    python -m benchmarks.local_network
    python -m benchmarks.local_network --repetitions 5

Two hosts are made on this computer, as root, and joined by a bridge; on one, `gossip train digits` runs already, on
the other `gossip train digits --join` is started. Timed from when the second peer can be reached,
which is when it begins to look, to when it has met the first one, and to its first round. Exits with 1 where they do
not meet within 5 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.namespaces import Hosts, switched_hosts
from benchmarks.peer_processes import GOSSIP, events_of, started_processes

MEET_S = 5.0
GIVE_UP_S = 180.0
POLL_S = 0.05


@dataclass(frozen=True)
class Meeting:
    """One try. None where it did not come to that."""

    met_s: float | None
    round_s: float | None


def meet() -> Meeting:
    """One try. Raises OSError where there can be no hosts."""
    with switched_hosts(2) as hosts, tempfile.TemporaryDirectory(prefix="gossiptrain-lan-") as name:
        first, second = Path(name) / "first", Path(name) / "second"
        with started_processes() as processes:
            processes.append(_start(hosts, 0, [], out=first))
            _wait_for(first, "started", processes)
            processes.append(_start(hosts, 1, ["--join"], out=second))
            begun_s = _wait_for(second, "started", processes)
            round_s = _wait_for(second, "round", processes)
            met_s = _time_of(second, "peer")
    return Meeting(*(None if time_s is None else time_s - (begun_s or 0.0) for time_s in (met_s, round_s)))


def _start(hosts: Hosts, host: int, flags: Sequence[str], *, out: Path) -> subprocess.Popen[bytes]:
    usual = ["--threads", "1", "--device", "cpu", "--max-steps", "100000000", "--log-format", "json", "--out", str(out)]
    return subprocess.Popen([*hosts.on(host), *GOSSIP, "train", "digits", *usual, *flags], stdout=subprocess.DEVNULL)


def _wait_for(folder: Path, kind: str, processes: Sequence[subprocess.Popen[bytes]]) -> float | None:
    until_s = time.monotonic() + GIVE_UP_S
    while (found := _time_of(folder, kind)) is None:
        if time.monotonic() > until_s or any(process.poll() is not None for process in processes):
            return None
        time.sleep(POLL_S)
    return found


def _time_of(folder: Path, kind: str) -> float | None:
    return next((float(event["time"]) for event in events_of(folder) if event["event"] == kind), None)


def main() -> int:
    """Tries, and prints how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=whole_number(1), default=3, metavar="N", help="(3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where = machine()
    found = [meet() for _ in range(given.repetitions)]
    cells = [["never" if time_s is None else f"{time_s:.2f} s" for time_s in (one.met_s, one.round_s)] for one in found]
    show_table("from looking to", ["met", "first round"], cells)
    if given.json is not None:
        write_json(given.json, benchmark="local_network", measured_on=where, results=found)
    return int(any(one.met_s is None or one.met_s > MEET_S for one in found))


if __name__ == "__main__":
    sys.exit(main())
