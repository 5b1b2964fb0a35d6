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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.namespaces import Hosts, switched_hosts
from benchmarks.peer_processes import GOSSIP, events_of, started_processes, wait_for_event

MEET_S = 5.0


@dataclass(frozen=True)
class Meeting:
    """One try. None where it did not come to that."""

    met_s: float | None
    round_s: float | None


def meet() -> Meeting:
    """One try. Raises OSError where there can be no hosts, RuntimeError where a peer does not begin."""
    with switched_hosts(2) as hosts, tempfile.TemporaryDirectory(prefix="gossiptrain-lan-") as name:
        first, second = Path(name) / "first", Path(name) / "second"
        with started_processes() as processes:
            processes.append(_start(hosts, 0, [], out=first))
            wait_for_event(first, "started", processes[0])
            processes.append(_start(hosts, 1, ["--join"], out=second))
            begun_s = wait_for_event(second, "started", processes[1])["time"]
            with suppress(RuntimeError):
                wait_for_event(second, "round", processes[1])
            return Meeting(*(_after(begun_s, second, kind) for kind in ("peer", "round")))


def _start(hosts: Hosts, host: int, flags: Sequence[str], *, out: Path) -> subprocess.Popen[bytes]:
    usual = ["--threads", "1", "--device", "cpu", "--max-steps", "100000000", "--log-format", "json", "--out", str(out)]
    return subprocess.Popen([*hosts.on(host), *GOSSIP, "train", "digits", *usual, *flags], stdout=subprocess.DEVNULL)


def _after(begun_s: float, folder: Path, kind: str) -> float | None:
    return next((float(event["time"]) - begun_s for event in events_of(folder) if event["event"] == kind), None)


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
