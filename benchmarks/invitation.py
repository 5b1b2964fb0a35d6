"""How long it takes to let somebody on another computer in: from `gossip invite` to the first round together.

    python -m benchmarks.invitation
    python -m benchmarks.invitation --repetitions 5

Two hosts are made on this computer, as root, and joined by a bridge; each has a user of its own, by the folder of what
the user's programs remember. On the first one `gossip train digits` runs. There `gossip invite` is typed; the command
that it prints is typed on the second host, as it stands, at once. Timed from the first of the two to the end of
the first round of the invited peer, loading Python and torch included. Exits with 1 where that takes longer than 15 s.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.namespaces import switched_hosts
from benchmarks.peer_processes import GOSSIP, started_processes, wait_for_event

WITHIN_S = 15.0
QUIET = ["--threads", "1", "--device", "cpu", "--max-steps", "100000000", "--log-format", "plain"]


@dataclass(frozen=True)
class Invitation:
    """One try. invite_s: until the command for the other computer was printed. round_s: until the round."""

    invite_s: float
    round_s: float


def invite() -> Invitation:
    """One try. Raises OSError where there can be no hosts, RuntimeError where it does not come to a round."""
    with switched_hosts(2) as hosts, tempfile.TemporaryDirectory(prefix="gossiptrain-invitation-") as name:
        here, there = Path(name) / "here", Path(name) / "there"
        at_home, elsewhere = _of_user(here), _of_user(there)
        with started_processes() as processes:
            command = [*hosts.on(0), *GOSSIP, "train", "digits", *QUIET, "--out", str(here / "run")]
            processes.append(subprocess.Popen(command, env=at_home, stdout=subprocess.DEVNULL))
            wait_for_event(here / "run", "started", processes[0])
            wait_for_event(here / "run", "step", processes[0])
            began_s = time.time()
            printed = subprocess.run(
                [*hosts.on(0), *GOSSIP, "invite"], env=at_home, check=True, capture_output=True, text=True
            ).stdout
            invite_s = time.time() - began_s
            own = ["--out", str(there / "run"), "--log-format", "plain"]
            joining = [*hosts.on(1), *GOSSIP, *shlex.split(printed)[1:], *own]
            processes.append(subprocess.Popen(joining, env=elsewhere, stdout=subprocess.DEVNULL))
            return Invitation(invite_s, wait_for_event(there / "run", "round", processes[1])["time"] - began_s)


def _of_user(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {**os.environ, "XDG_STATE_HOME": str(folder / "state")}


def main() -> int:
    """Tries, and prints how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=whole_number(1), default=3, metavar="N", help="(3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where = machine()
    found = [invite() for _ in range(given.repetitions)]
    cells = [[f"{one.invite_s:.1f} s", f"{one.round_s:.1f} s"] for one in found]
    show_table("from typing gossip invite to", ["its command is printed", "the first round together"], cells)
    if given.json is not None:
        write_json(given.json, benchmark="invitation", measured_on=where, results=found)
    return int(any(one.round_s > WITHIN_S for one in found))


if __name__ == "__main__":
    sys.exit(main())
