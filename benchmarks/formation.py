"""How long it takes to form a group among real libp2p peers that are all ready at once.

    .venv/bin/python -m benchmarks.formation
    .venv/bin/python -m benchmarks.formation --peers 7,8,64 --rounds 50 --json formation.json

In a round all peers are ready at once and are divided into groups at once. One group may hold them all, so one group
of all is what a round should come to, in odd swarms as in even ones; `rounds of all` says how often it did, and
`without a group` how many peers found none in a round: they have no time and are in no other figure.

Every peer is the swarm's own code over a libp2p daemon of its own, all on the loopback of this computer. All peers
live in this one process and share its event loop, so the work of all of them is done one after another: a peer that
has a process to itself waits no longer. Their vectors are tiny, since only the time until a group is found counts, as
peers report it in `formation_seconds`. No round is left out, the first one, with its handshakes, included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console

from benchmarks.measure import Summary, machine, milliseconds, show_table, summary, whole_number, write_json
from benchmarks.round.__main__ import numbers
from gossiptrain.config import PRESETS, GossipSettings, NetworkSettings, Preset
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.fragments import WholeModel
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.state import Donation

ELEMENTS = 1000
FINGERPRINT = RunFingerprint(PROTOCOL_VERSION, "formation", "benchmark", "00" * 32, ELEMENTS)
MEET_S = 180.0
"""Longest wait until all peers know each other; it takes a few seconds, and longer where the machine is busy."""
PEERS = [2, 3, 4, 7, 8, 15, 16, 31, 32]
MOST_PEERS = 64
"""Largest group that the settings allow."""
ROUND = """
A round: all peers are ready at once and are divided into groups at once.
A group may hold all of them; rounds of all: committed, all in one group.
All peers share one process, with one libp2p daemon each."""


@dataclass(frozen=True)
class Formation:
    """One row. formation_s: over all peers and rounds.

    whole_rounds: rounds that committed with all in one group. without_group: how often a peer found no group, over all
    rounds; it has no sample.
    """

    peers: int
    rounds: int
    whole_rounds: int
    without_group: int
    preset: str
    formation_s: Summary


async def measure(peers: int, *, rounds: int, preset: Preset) -> Formation:
    """Starts a swarm and has it average `rounds` times, all peers ready at the same moment."""
    samples: list[float] = []
    whole_rounds = 0
    without_group = 0
    async with swarm_of(peers, preset=preset) as swarm:
        await meet(swarm)
        for _ in range(rounds):
            found = [averaged for averaged in await one_round(swarm) if averaged is not None]
            samples += [averaged.formation_seconds for averaged in found]
            whole = [averaged for averaged in found if len(averaged.result.members) == peers]
            without_group += peers - len(found)
            whole_rounds += len(whole) == peers and all(averaged.result.committed for averaged in whole)
    if not samples:
        raise SystemExit(f"{peers} peers: no group was ever found")
    return Formation(peers, rounds, whole_rounds, without_group, preset, summary(samples))


@contextlib.asynccontextmanager
async def swarm_of(count: int, *, preset: Preset) -> AsyncIterator[list[SwarmPeer]]:
    """Real peers on the loopback that keep each other informed; they and their daemons are gone afterwards."""
    network = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset=preset)
    swarm: list[SwarmPeer] = []
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            transport = await Libp2pTransport.start(network, Identity.generate())
            stack.push_async_callback(transport.close)
            peer = SwarmPeer(
                Environment(transport, random.Random(number), incarnation=1),
                FINGERPRINT,
                settings=GossipSettings(gossip_group_size=max(16, count)),
                timing=PRESETS[preset],
                donate=no_state,
            )
            await peer.open()
            # As a trainer does that has reached its round: others then wait for it.
            peer.membership.describe(replace(peer.membership.own, ready_in_s=0.0))
            await peer.join([swarm[0].transport.addresses[0]] if swarm else [])
            stack.push_async_callback(end, asyncio.create_task(peer.run()))
            swarm.append(peer)
        yield swarm


async def meet(swarm: list[SwarmPeer]) -> None:
    """Waits until every peer knows that all others live."""
    async with asyncio.timeout(MEET_S):
        while any(len(peer.membership.trainers()) < len(swarm) for peer in swarm):  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.02)


async def one_round(swarm: list[SwarmPeer]) -> list[AveragedRound | None]:
    """One round of all peers, begun in the same turn of the event loop."""
    buffers = [Buffers(np.ones(ELEMENTS, np.float32), np.empty(ELEMENTS, np.float32)) for _ in swarm]
    return list(
        await asyncio.gather(
            *(peer.participation.average(WholeModel(own), samples=1) for peer, own in zip(swarm, buffers, strict=True))
        )
    )


async def no_state(held: HeldAverage | None, fragment: int) -> Donation | None:
    """Nobody asks for the state here."""
    return None


async def end(task: asyncio.Task[None]) -> None:
    """Ends a peer's background task."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def show(results: list[Formation]) -> None:
    """A table, one row for each size, and what a round is."""
    rows = [
        [
            f"{result.peers} peers",
            f"{result.whole_rounds} of {result.rounds}",
            str(result.without_group),
            *map(milliseconds, (result.formation_s.median, result.formation_s.p95, result.formation_s.maximum)),
        ]
        for result in results
    ]
    show_table("From ready to group", ["", "rounds of all", "without a group", "median", "p95", "max"], rows)
    Console().print(ROUND, markup=False, highlight=False)


def main() -> None:
    """Reads the arguments, measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = ",".join(map(str, PEERS))
    parser.add_argument(
        "--peers", type=numbers(2, MOST_PEERS), default=PEERS, metavar="N,N", help=f"sizes of the swarm ({sizes})"
    )
    parser.add_argument("--rounds", type=whole_number(1), default=40, metavar="N", help="rounds for each size (40)")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="lan", help="waits of the peers (lan)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    where = machine()
    results: list[Formation] = []
    for peers in given.peers:
        results.append(uvloop.run(measure(peers, rounds=given.rounds, preset=given.preset)))
        if given.json is not None:
            write_json(given.json, benchmark="formation", measured_on=where, results=results)
    show(results)


if __name__ == "__main__":
    main()
