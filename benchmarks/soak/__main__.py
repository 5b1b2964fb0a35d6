"""Real peers in which faults happen: do they go on, come back, learn as well, and leave nothing behind?

    make soak                                                      # 16 peers, 30 % killed and resumed a minute, 15 min
    make soak ARGS="--faults all --minutes 60 --seed 7 --keep failed"
    python -m benchmarks.soak --peers 4 --minutes 2 --faults kill terminate freeze-daemon
    python -m benchmarks.soak --compare --json soak.json           # and an undisturbed run with as many samples

Faults, `--rate` percent of the peers a minute, each of a kind drawn from those that are named:

    kill, kill-node, kill-daemon        SIGKILL to the trainer, to the node, to libp2p's daemon
    freeze, freeze-node, freeze-daemon  SIGSTOP, and SIGCONT 2 to 20 s later
    terminate                           SIGTERM to the trainer: exit code 0 within 10 s, its last state in a checkpoint
    storm                               a quarter as many peers join at one moment, and leave at one moment
    memory, memory-node                 the trainer, the node of one more peer gets no more memory for a while
    disk                                the disk of one more peer is full for a while
    cut, one-way, slow                  the halves of the swarm, on two hosts, are cut apart, deaf on one side, or slow

Killed and terminated peers are resumed from their run folders. `disk` and the last three need root and Linux. Exits
with 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.processes import Family

from benchmarks.measure import machine, whole_number, write_json
from benchmarks.namespaces import switched_hosts
from benchmarks.soak.course import Soak, soak
from benchmarks.soak.faults import BETWEEN_HOSTS, FAULTS, planned
from benchmarks.soak.findings import Findings, findings, loss_beside, show

EPOCHS_PER_MINUTE = 5000
"""As the length of the training, over which the learning rate rises and falls: far more than a peer comes to on however
fast a core, and not so many that nothing is learnt while the learning rate still rises."""
LONGEST_UNDISTURBED_S = 4 * 3600.0


def parsed() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=whole_number(4, 64), default=16)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--faults", nargs="+", choices=[*FAULTS, "all", "none"], default=["kill"], metavar="KIND")
    parser.add_argument("--rate", type=float, default=30.0, metavar="PERCENT", help="of the peers a minute (30)")
    parser.add_argument("--seed", type=whole_number(0), default=0)
    parser.add_argument("--compare", action="store_true", help="then run as many samples without faults")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where run folders and logs of a failure are put")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def run_one(given: argparse.Namespace, name: str, kinds: list[str], is_over: Callable[[Soak], bool]) -> Findings:
    """One run from start to end, told at once; its folder is kept where a promise was broken, and `keep` names one."""
    plan = planned(kinds, peers=given.peers, percent_a_minute=given.rate, minutes=given.minutes, seed=given.seed)
    with tempfile.TemporaryDirectory(prefix="gossiptrain-soak-") as folder, ExitStack() as stack:
        hosts = stack.enter_context(switched_hosts(2)) if set(kinds) & set(BETWEEN_HOSTS) else None
        # Entered after the hosts: processes end before what they live on is taken away.
        family = stack.enter_context(Family(Path(folder)))
        epochs = math.ceil(EPOCHS_PER_MINUTE * given.minutes)
        run = soak(family, plan, peers=given.peers, is_over=is_over, epochs=epochs, seed=given.seed, hosts=hosts)
        found = findings(run)
        if given.keep is not None and found.broken:
            shutil.copytree(folder, given.keep / name.replace(" ", "-"), dirs_exist_ok=True)
    print(f"{name}: {found.rounds} rounds, {len(found.broken)} promises broken", flush=True)
    return found


def main() -> int:
    """Runs what was asked for."""
    given = parsed()
    # Who is asked to end takes processes, mounts and namespaces along.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    kinds = [] if "none" in given.faults else list(FAULTS) if "all" in given.faults else given.faults
    measured_on = machine()
    name = "with faults" if kinds else "undisturbed"
    runs = {name: run_one(given, name, kinds, lambda run: time.time() - run.began_s >= 60.0 * given.minutes)}
    above = None
    if given.compare and kinds:
        disturbed = runs["with faults"]
        runs["undisturbed"] = run_one(
            given,
            "undisturbed",
            [],
            lambda run: run.samples >= disturbed.samples or time.time() - run.began_s > LONGEST_UNDISTURBED_S,
        )
        above = loss_beside(disturbed, runs["undisturbed"])
    show(runs, above)
    if given.json:
        write_json(given.json, benchmark="soak", measured_on=measured_on, results=list(runs.values()))
    return int(any(found.broken for found in runs.values()))


if __name__ == "__main__":
    sys.exit(main())
