"""How much of training is left where peers average a model over slow links: with gossip, and where a step waits.

    sudo .venv/bin/python -m benchmarks.links.training
    sudo .venv/bin/python -m benchmarks.links.training --mbit 20 50 --systems gossip-int4 gloo --json kept.json

Every host, a network namespace of this computer behind a link of that rate, trains a model of so many parameters, and
all average it every so many seconds: with `gossip()` beside the steps, or between two steps by torch.distributed's
gloo, as DiLoCo is usually run. A step is plain SGD over all parameters and then sleep, as of somebody whose accelerator
computes: what is measured is waiting, and not how two cores are shared. Steps kept are those made from the end of one
round to that of a later one, relative to the speed of the same host's steps before there was any round. A round begins
so long after the beginning of the last one for both, and not before that has ended. Needs root and Linux.

Owns both loops, their window and the table. Does not know how links are made.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.distributed as distributed

from benchmarks.large_model import Layers
from benchmarks.links.laboratory import laboratory
from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.namespaces import DEVICE, Hosts, Link, address_of
from benchmarks.speaking_process import SpeakingProcess, Word, say
from gossiptrain import events, gossip
from gossiptrain.config import GossipSettings, NetworkSettings, checked

STEP_S = 0.2
QUIET_S = 10.0
"""For so long steps are made before there is any round."""
PORT = 29_511
WAIT_S = 300.0
SYSTEMS = ("gossip-fp32", "gossip-int8", "gossip-int4", "gloo")


@dataclass(frozen=True)
class Job:
    """What one host does. addresses: by which it finds the others."""

    system: str
    host: int
    hosts: int
    millions: int
    every_s: float
    rounds: int
    addresses: tuple[str, ...] = ()

    @property
    def sent_mb(self) -> float:
        """By each host in a round in float32, at least."""
        return 2 * (self.hosts - 1) / self.hosts * 4 * self.millions


@dataclass(frozen=True)
class HostFound:
    """kept: steps made, relative to those that would have been made without rounds. apart_s: from the end of a round to
    that of the next one, on average. round_s: each of its rounds."""

    kept: float
    steps: int
    apart_s: float
    round_s: tuple[float, ...]
    sent_mb: float
    ended_with: int
    """Members of its last round, which all end with one model."""


@dataclass(frozen=True)
class Row:
    """One system at one rate. bound_s: the least time of a round in float32. ended_with: fewest members of a host's
    last round."""

    mbit: float
    system: str
    bound_s: float
    kept: tuple[float, ...]
    rounds: int
    apart_s: float
    round_s: float
    sent_mb: float
    ended_with: int
    load_1min: float


# One host.


class Steps:
    """Makes steps of the same length, and counts them."""

    def __init__(self, millions: int) -> None:
        self.model = Layers(1_000_000 * millions)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.made = 0
        self._speed = 0.0

    def make(self) -> None:
        """One step."""
        began_s = time.monotonic()
        self.optimizer.step()
        self.made += 1
        time.sleep(max(0.0, began_s + STEP_S - time.monotonic()))

    def until(self, over: Callable[[], bool]) -> None:
        """Until it is over."""
        while not over():
            self.make()

    def measure_speed(self) -> None:
        """Steps in a second, while there is no round."""
        began_s, before = time.monotonic(), self.made
        self.until(lambda: time.monotonic() - began_s >= QUIET_S)
        self._speed = (self.made - before) / (time.monotonic() - began_s)

    def kept(self, steps: int, seconds: float) -> float:
        """How many of the steps that could have been made in that time."""
        return steps / (self._speed * seconds)


def train(job: Job) -> None:
    """Does the job, and prints what it found as the last line of JSON."""
    torch.set_num_threads(1)
    steps = Steps(job.millions)
    steps.measure_speed()
    found = _with_gloo(job, steps) if job.system == "gloo" else _with_gossip(job, steps)
    say("found", **asdict(found))
    sys.stdin.readline()  # until all others have found theirs


def _with_gossip(job: Job, steps: Steps) -> HostFound:
    rounds: list[events.RoundCommitted] = []
    final: list[events.RoundCommitted] = []

    def note(event: events.Event) -> None:
        if isinstance(event, events.RoundCommitted):
            (final if event.final else rounds).append(event)

    settings = checked(GossipSettings, codec=job.system.removeprefix("gossip-"), every_seconds=job.every_s)
    with gossip(
        steps.model,
        steps.optimizer,
        run="links",
        task="links",
        initial_peers=job.addresses,
        settings=settings,
        network=NetworkSettings(host_maddrs=(f"/ip4/{address_of(job.host)}/tcp/0",), preset="wan"),
        on_event=note,
    ) as swarm:
        say("up", address=swarm.addresses[0])
        swarm.wait_for_peers(job.hosts)
        steps.until(lambda: bool(rounds))
        began_s, before, last = time.monotonic(), steps.made, len(rounds) + job.rounds
        steps.until(lambda: len(rounds) >= last or swarm.is_alone)
        seconds, made = time.monotonic() - began_s, steps.made - before
    later = rounds[-job.rounds :]
    return HostFound(
        steps.kept(made, seconds),
        made,
        seconds / len(later),
        tuple(event.seconds + event.formation_seconds for event in later),
        max(event.bytes_sent for event in later) / 1e6,
        len(final[-1].members) if final else 1,
    )


def _with_gloo(job: Job, steps: Steps) -> HostFound:
    say("up", address=f"{address_of(job.host)}:{PORT}")
    master = job.addresses[0] if job.addresses else f"{address_of(job.host)}:{PORT}"
    distributed.init_process_group("gloo", init_method=f"tcp://{master}", rank=job.host, world_size=job.hosts)
    flat = torch.cat([layer.detach() for layer in steps.model.layers])
    round_s: list[float] = []
    started_s = time.monotonic()
    distributed.all_reduce(flat)  # connections are made
    began_s, before = time.monotonic(), steps.made
    for _ in range(job.rounds):
        due_s = started_s + job.every_s
        while time.monotonic() < due_s:
            steps.make()
        started_s = time.monotonic()
        distributed.all_reduce(flat)
        round_s.append(time.monotonic() - started_s)
    seconds, made = time.monotonic() - began_s, steps.made - before
    return HostFound(steps.kept(made, seconds), made, seconds / job.rounds, tuple(round_s), job.sent_mb, job.hosts)


# All hosts.


def _process(hosts: Hosts, job: Job) -> SpeakingProcess:
    command = [*hosts.on(job.host), sys.executable, "-m", "benchmarks.links.training", "--as-host"]
    return SpeakingProcess([*command, json.dumps(asdict(job))], env={**os.environ, "GLOO_SOCKET_IFNAME": DEVICE})


@contextmanager
def started(hosts: Hosts, jobs: Sequence[Job]) -> Iterator[list[SpeakingProcess]]:
    """One after the other, each with the first one's address; ended whatever happens."""
    found: list[SpeakingProcess] = []
    try:
        for job in jobs:
            addresses = (found[0].wait_for("up", longest_s=WAIT_S)["address"],) if found else ()
            found.append(_process(hosts, replace(job, addresses=addresses)))
        yield found
    finally:
        for host in found:
            host.close()


def _found(word: Word) -> HostFound:
    return HostFound(**{name: value for name, value in word.items() if name != "what"})


def measure(link: Link, job: Job) -> Row:
    """One system over links of one kind. Raises OSError where there can be no hosts."""
    with laboratory([link] * job.hosts) as hosts:
        jobs = [replace(job, host=number) for number in range(job.hosts)]
        with started(hosts, jobs) as running:
            longest_s = WAIT_S + 2 * (job.rounds + 1) * job.every_s
            found = [_found(host.wait_for("found", longest_s=longest_s)) for host in running]
    rounds = [seconds for each in found for seconds in each.round_s]
    return Row(
        link.up_mbit,
        job.system,
        bound_s=job.sent_mb * 8 / link.up_mbit,
        kept=tuple(sorted(each.kept for each in found)),
        rounds=min(len(each.round_s) for each in found),
        apart_s=statistics.median(each.apart_s for each in found),
        round_s=statistics.median(rounds) if rounds else 0.0,
        sent_mb=max(each.sent_mb for each in found),
        ended_with=min(each.ended_with for each in found),
        load_1min=round(os.getloadavg()[0], 2),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--mbit", nargs="+", type=float, default=[50.0, 200.0])
    parser.add_argument("--delay", type=float, default=0.0, metavar="MS", help="of a round trip")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--hosts", type=whole_number(2, 64), default=4)
    parser.add_argument("--millions", type=whole_number(1, 10_000), default=30, help="of parameters")
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--rounds", type=whole_number(1), default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--as-host", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.as_host:
        train(Job(**json.loads(given.as_host)))
        return 0
    rows = []
    for mbit in given.mbit:
        for system in given.systems:
            job = Job(system, 0, given.hosts, given.millions, given.every, given.rounds)
            row = measure(Link(mbit, mbit, round_trip_ms=given.delay), job)
            rows.append(row)
            print(f"{mbit:g} Mbit/s, {system}: {100 * row.kept[0]:.1f} %, {row.apart_s:.1f} s apart", flush=True)
    measured_on = machine()
    print(json.dumps(measured_on))
    columns = (
        "",
        "steps kept, least to most",
        "rounds",
        "apart",
        "a round",
        "at least, fp32",
        "MB sent in one",
        "end with",
        "load",
    )
    title = f"{given.hosts} hosts, {given.millions} million parameters, a round every {given.every:g} s"
    show_table(title, columns, [_cells(row) for row in rows])
    if given.json:
        write_json(given.json, benchmark="links.training", measured_on=measured_on, results=rows)
    return 0


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.mbit:g} Mbit/s, {row.system}",
        f"{100 * row.kept[0]:.1f}-{100 * row.kept[-1]:.1f} %",
        str(row.rounds),
        f"{row.apart_s:.1f} s",
        f"{row.round_s:.1f} s",
        f"{row.bound_s:.1f} s",
        f"{row.sent_mb:.0f}",
        str(row.ended_with),
        f"{row.load_1min:g}",
    )


if __name__ == "__main__":
    sys.exit(main())
