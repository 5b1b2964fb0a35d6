"""A round of four peers, one of which crashes at a point of the protocol: what the others hold afterwards.

    found = crashed("leader", Point("report", sends=True, number=2), run="run 7")

Each survivor's parameters have to be those before the round, bit by bit, or those after it: the mean of what the
members brought, the same bits for all of them, and for all or none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from gossiptrain.config import GossipSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.participation import AveragedRound
from tests.swarm.interrupted_rounds import LATENCY_S, TIMING, Role, reach_distinct_roles
from tests.swarm.interruptions import ObservedNetwork, Point, Victim, points
from tests.swarm.swarms import Swarm, swarm_of
from tests.transports import MakeTransport, run_on

_EXCHANGE = points("exchange", sent=(1, 2, 4, 8, 12, 16, 20, 24, 27), received=(1, 8, 13, 20, 27))
POINTS: dict[Role, list[Point]] = {
    "member": [
        *points("ready", sent=(1,), received=(1,)),
        *_EXCHANGE,
        *points("exchange", received=(4, 17)),
        *points("report", sent=(1,), received=(1,)),
    ],
    "leader": [*_EXCHANGE, *points("report", sent=(1, 2, 3), received=(1, 2, 3))],
    "coordinator": [*points("ready", sent=(1, 2, 3), received=(1, 2, 3)), *_EXCHANGE],
}
"""Twenty of each role, from the first word to the last."""


@dataclass(frozen=True)
class Crashed:
    """What came of it. wrong: what must not be, in words; empty where all is well."""

    is_reached: bool
    committed: int
    wrong: str = ""


def crashed(role: Role, point: Point, *, run: str) -> Crashed:
    """Lets the peer with that role crash there. run: the name, on which depends who has which role."""
    network = ObservedNetwork(latency_s=LATENCY_S)

    async def scenario(make: MakeTransport) -> Crashed:
        async with swarm_of(make, 4, settings=GossipSettings(), timing=TIMING, run=run) as swarm:
            roles = await reach_distinct_roles(swarm)
            victim = Victim(network, swarm, roles[role], fault="crash")
            network.interrupt(point, victim=victim.name, action=victim.strike)
            before = {peer.id: peer.values.copy() for peer in swarm.peers.values()}
            tasks = {name: asyncio.create_task(peer.average()) for name, peer in swarm.peers.items()}
            victim.work.append(tasks.pop(victim.name))
            rounds = dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
            found = Crashed(
                network.interrupted,
                sum(averaged is not None and averaged.result.committed for averaged in rounds.values()),
                _wrong_with(swarm, rounds, before),
            )
            await victim.end()
            return found

    return run_on("virtual", scenario, network=network)


def _wrong_with(swarm: Swarm, rounds: dict[str, AveragedRound | None], before: dict[PeerId, Vector]) -> str:
    survivors = {swarm.peers[name].id: name for name in rounds}
    for name, averaged in rounds.items():
        peer = swarm.peers[name]
        if averaged is None or not averaged.result.committed:
            if peer.values.tobytes() != before[peer.id].tobytes():
                return f"{name} had no round and has changed"
            continue
        members = averaged.result.members
        mean = np.mean([before[member] for member in members], axis=0)
        if not np.allclose(peer.values, mean, rtol=1e-5, atol=1e-6):
            return f"{name} holds something else than the mean of {members}"
        for other in (survivors[member] for member in members if member in survivors):
            if swarm.peers[other].values.tobytes() != peer.values.tobytes():
                return f"{name} has committed with {members}, and {other} holds something else"
    return ""
