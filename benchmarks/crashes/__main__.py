"""What crashes and requests to end leave behind. Exits with 1 where that is not as it should be.

    python -m benchmarks.crashes                                    # all of it
    python -m benchmarks.crashes protocol --seeds 50                # a crash at 20 points of a round, in each role
    python -m benchmarks.crashes rounds --kills 20                  # SIGKILL to parts of real peers in their rounds
    python -m benchmarks.crashes saving --crashes 1000              # SIGKILL while checkpoints are saved
    python -m benchmarks.crashes terminating --times 100            # SIGTERM at random moments of real trainers

protocol: four peers, one of which crashes in a round, on the network in memory. The parameters of the others are
bitwise those before the round, or all of them the same mean of what the members brought.
rounds: the same of three real peers, and of the last checkpoint of those that were killed.
saving: afterwards there is a checkpoint that loads, no older than the last one that was saved, and nothing piles up.
terminating: exit code 0 within 10 s, and the last state in a checkpoint.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from tests.swarm.interrupted_rounds import Role

from benchmarks.crashes.protocol import RoleFindings, of_role
from benchmarks.crashes.rounds import RoundFindings, kill_in_rounds
from benchmarks.crashes.saving import SavingFindings, crash_while_saving
from benchmarks.crashes.terminating import TerminatingFindings, terminate
from benchmarks.measure import machine, show_table, whole_number, write_json

PARTS = ("protocol", "rounds", "saving", "terminating")


def run_protocol(given: argparse.Namespace) -> list[RoleFindings]:
    """All roles, and their table."""
    found = [of_role(role, seeds=given.seeds, workers=given.parallel) for role in get_args(Role)]
    rows = [
        [one.role, str(one.points), str(one.crashes), str(one.not_reached), _counts(one.committed), str(len(one.wrong))]
        for one in found
    ]
    columns = ["who crashes", "points", "crashes", "point not reached", "times that 0-3 survivors commit", "wrong"]
    show_table("a crash in a round of four", columns, rows)
    return found


def run_rounds(given: argparse.Namespace) -> list[RoundFindings]:
    """All kills, and their table."""
    with tempfile.TemporaryDirectory(prefix="gossiptrain-rounds-") as folder:
        found = kill_in_rounds(Path(folder), kills=given.kills)
    kills = ", ".join(f"{count} {what}" for what, count in found.kills.items())
    row = [kills, str(found.rounds), str(found.shared), str(len(found.wrong))]
    show_table("SIGKILL in rounds of real peers", ["killed", "rounds", "digests compared", "wrong"], [row])
    return [found]


def run_saving(given: argparse.Namespace) -> list[SavingFindings]:
    """All crashes, and their table."""
    with tempfile.TemporaryDirectory(prefix="gossiptrain-saving-") as folder:
        found = crash_while_saving(Path(folder), crashes=given.crashes)
    row = [str(found.crashes), str(found.saves), str(found.mid_save), str(found.most_entries), str(len(found.wrong))]
    show_table("crashes while saving", ["crashes", "saves", "in the middle", "most entries", "wrong"], [row])
    return [found]


def run_terminating(given: argparse.Namespace) -> list[TerminatingFindings]:
    """All requests, and their table."""
    with tempfile.TemporaryDirectory(prefix="gossiptrain-terminating-") as folder:
        found = terminate(Path(folder), times=given.times, parallel=given.parallel)
    took = f"{found.farewell_s.median:.2f}, {found.farewell_s.maximum:.2f}" if found.farewell_s else "-"
    row = [str(found.terminated), str(found.begun), took, _counts(found.early), str(len(found.wrong))]
    columns = ["SIGTERM", "had begun", "farewell, s: median, longest", "exit codes of the others", "wrong"]
    show_table("SIGTERM at random moments", columns, [row])
    return [found]


def _counts(counts: dict[int, int]) -> str:
    return ", ".join(f"{count} x {key}" for key, count in counts.items()) or "-"


def main() -> int:
    """Runs the parts that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.crashes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=PARTS, metavar="PART")
    parser.add_argument("--seeds", type=whole_number(1), default=50, help="orders of the peers, for each point (50)")
    parser.add_argument("--kills", type=whole_number(1), default=20, help="in rounds of real peers (20)")
    parser.add_argument("--crashes", type=whole_number(1), default=1000, help="while saving (1000)")
    parser.add_argument("--times", type=whole_number(1), default=100, help="SIGTERM so often (100)")
    parser.add_argument("--parallel", type=whole_number(1, 64), default=2, help="processes at a time (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    # Who is asked to end takes its processes along.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    run: dict[str, Callable[[argparse.Namespace], Sequence[Any]]] = {
        "protocol": run_protocol,
        "rounds": run_rounds,
        "saving": run_saving,
        "terminating": run_terminating,
    }
    measured_on = machine()
    found: list[Any] = []
    for part in given.parts or PARTS:
        found += run[part](given)
        if given.json:
            write_json(given.json, benchmark="crashes", measured_on=measured_on, results=found)
    for text in (text for one in found for text in one.wrong):
        print(f"WRONG: {text}")
    return int(any(one.wrong for one in found))


if __name__ == "__main__":
    sys.exit(main())
