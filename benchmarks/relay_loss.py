"""How soon peers behind routers come to a round again when the helper through which they met is killed.

    python -m benchmarks.relay_loss
    python -m benchmarks.relay_loss --kinds symmetric port-dependent

Four hosts are made on this computer, as root: a helper with a public address, two `gossip train digits` behind routers,
and a third one with a public address, which others can dial. Once all three have told a round the helper is killed.
Timed from then to the first round of all three that begins later, and the longest time between two such rounds in the
minute after. Exits with 1 where that is more than 60 s.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmarks.links.packet_switch import PacketSwitchedHosts
from benchmarks.links.router import RouterKind
from benchmarks.measure import machine, show_table, write_json
from benchmarks.namespaces import built
from benchmarks.nat import HOME, POLL_S, helper, start
from benchmarks.peer_processes import events_of, started_processes

PEERS = 3
SETTLED_S = 10.0
WATCHED_S = 60.0
GIVE_UP_S = 180.0
MOST_S = 60.0


@dataclass(frozen=True)
class Loss:
    """next_round_s: from the kill; None where there was none. longest_gap_s: between rounds of all from then on."""

    next_round_s: float | None
    longest_gap_s: float | None


def lose_helper(kinds: Sequence[RouterKind]) -> Loss:
    """One try with two routers. Raises OSError where there can be no hosts, RuntimeError where the peers never met."""
    hosts = PacketSwitchedHosts([HOME] * (PEERS + 1), routers=["none", *kinds, "none"])
    with built(hosts), tempfile.TemporaryDirectory(prefix="gossiptrain-loss-") as name:
        folder = Path(name)
        folders = [folder / str(number) for number in range(PEERS)]
        with helper(hosts, folder) as (address, process), started_processes() as peers:
            for host, out in enumerate(folders, start=1):
                peers.append(start(hosts, host, ["--initial-peer", address], out=out))
            until_s = time.time() + GIVE_UP_S
            while not all(_rounds_of_all(out) for out in folders):
                if time.time() > until_s:
                    raise RuntimeError("the peers have not met")
                time.sleep(POLL_S)
            time.sleep(SETTLED_S)
            killed_s = time.time()
            process.kill()
            time.sleep(WATCHED_S)
            return _loss([_rounds_of_all(out) for out in folders], killed_s)


def _rounds_of_all(folder: Path) -> list[float]:
    """When rounds of all peers were told."""
    rounds = (event for event in events_of(folder) if event["event"] == "round")
    return [float(event["time"]) for event in rounds if len(event["members"]) == PEERS]


def _loss(told_s: Sequence[Sequence[float]], killed_s: float) -> Loss:
    """The worst of what each peer saw. The first round after the kill may have begun before, and does not count."""
    later_s = [[time_s for time_s in times_s if time_s > killed_s][1:] for times_s in told_s]
    if not all(later_s):
        return Loss(None, None)
    gaps_s = [after - before for times_s in later_s for before, after in itertools.pairwise((killed_s, *times_s))]
    return Loss(max(times_s[0] for times_s in later_s) - killed_s, max(gaps_s))


def main() -> int:
    """Tries once and prints how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["port-dependent", "port-dependent"]
    parser.add_argument("--kinds", nargs=2, choices=get_args(RouterKind), default=default, help="(both port-dependent)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where, found = machine(), lose_helper(given.kinds)
    cells = ["none" if time_s is None else f"{time_s:.1f} s" for time_s in (found.next_round_s, found.longest_gap_s)]
    show_table("after the helper was killed", ["next round", "longest time between two"], [cells])
    if given.json is not None:
        write_json(given.json, benchmark="relay_loss", measured_on=where, results=[found])
    return int(found.longest_gap_s is None or found.longest_gap_s > MOST_S)


if __name__ == "__main__":
    sys.exit(main())
