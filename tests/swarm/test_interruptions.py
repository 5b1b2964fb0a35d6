"""A peer that dies, restarts or freezes costs the others at most three seconds, whenever in a round it happens.

`pytest -s` prints what each point costs.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Literal

import pytest

from gossiptrain.config import PRESETS, GossipSettings, Preset
from gossiptrain.core.grouping import coordinators, leaders
from tests.swarm.interruptions import Fault, ObservedNetwork, Point, Victim, points
from tests.swarm.swarms import Swarm, swarm_of
from tests.transports import MakeTransport, run_on

Role = Literal["member", "leader", "coordinator"]
LATENCY_S = 0.002
MOST_S = 3.0 + 15 * LATENCY_S
"""Three seconds of deadlines, and the messages between them."""
CHUNK_BYTES = 256
"""Four chunks for each slice of the vectors of these swarms."""


EXCHANGE = points("exchange", sent=(1, 2, 8, 27), received=(1, 13, 27))
BEFORE = Point("before the round", sends=True, number=1)
BY_ROLE: dict[Role, list[Point]] = {
    "member": [
        BEFORE,
        *points("ready", sent=(1,), received=(1,)),
        *EXCHANGE,
        *points("report", sent=(1,), received=(1,)),
    ],
    "leader": [BEFORE, *EXCHANGE, *points("report", sent=(1, 2, 3), received=(1, 2, 3))],
    "coordinator": [BEFORE, *points("ready", sent=(1, 2, 3), received=(1, 2, 3)), *EXCHANGE],
}
CASES = [(role, point) for role, those in BY_ROLE.items() for point in those]


def roles_in(swarm: Swarm) -> dict[Role, str]:
    """Who has which part in the next round, by the rules that the peers follow."""
    peer = swarm.peers["a"].swarm
    names = {str(other.id): name for name, other in swarm.peers.items()}
    run, number = peer.fingerprint.key, peer.membership.round
    coordinator = names[coordinators(list(names), run=run, round_number=number, seed=0)[0]]
    leader = names[leaders(list(names), run=run, round_number=number, seed=0)[0]]
    member = next(name for name in names.values() if name not in (coordinator, leader))
    return {"coordinator": coordinator, "leader": leader, "member": member}


class Course:
    """Two rounds of four peers, one of which is interrupted in the first.

    experienced: whether there were rounds before, from which links are known.
    """

    def __init__(
        self, preset: Preset, role: Role, point: Point | None, fault: Fault, *, experienced: bool = True
    ) -> None:
        self._experienced = experienced
        self._timing = PRESETS[preset].model_copy(update={"chunk_bytes": CHUNK_BYTES})
        self._role, self._point, self._fault = role, point, fault
        self._network = ObservedNetwork(latency_s=LATENCY_S)

    def seconds(self) -> float:
        """From the beginning of the first round to the end of the second, for the others."""
        return run_on("virtual", self._run, network=self._network)

    async def _run(self, make: MakeTransport) -> float:
        async with swarm_of(make, 4, settings=GossipSettings(), timing=self._timing) as swarm:
            if self._experienced:
                await swarm.average()
            roles = await self._begin(swarm)
            victim = Victim(self._network, swarm, roles[self._role], fault=self._fault)
            others = [name for name in swarm.peers if name != victim.name]
            if self._point is None:
                others.append(victim.name)
            elif self._point == BEFORE:
                victim.strike()
            else:
                self._network.interrupt(self._point, victim=victim.name, action=victim.strike)
            started_s = asyncio.get_running_loop().time()
            rounds = {name: asyncio.create_task(swarm.peers[name].average()) for name in swarm.peers}
            victim.work.append(rounds[victim.name])
            await asyncio.wait([rounds[name] for name in others])
            assert self._network.interrupted, "the point is not reached in this round"
            second = await asyncio.gather(*(swarm.peers[name].average() for name in others))
            took_s = asyncio.get_running_loop().time() - started_s
            assert all(found is not None and found.result.committed for found in second), second
            await victim.end()
            return took_s

    async def _begin(self, swarm: Swarm) -> dict[Role, str]:
        """Goes on to a round in which all roles are those of different peers."""
        while len(set((roles := roles_in(swarm)).values())) < 3:
            for peer in swarm.peers.values():
                peer.swarm.membership.reach_round(peer.swarm.membership.round + 1)
            await swarm.know_each_other()
        return roles


@functools.cache
def undisturbed_s(preset: Preset) -> float:
    return Course(preset, "member", None, "crash").seconds()


@pytest.mark.parametrize("fault", ["crash", "restart", "freeze"])
@pytest.mark.parametrize(("role", "point"), CASES, ids=[f"{role}-{point}" for role, point in CASES])
def test_an_interruption_costs_the_others_at_most_three_seconds(role: Role, point: Point, fault: Fault) -> None:
    cost_s = Course("local", role, point, fault).seconds() - undisturbed_s("local")
    sys.stdout.write(f"\n{fault:8} {role:10} {point!s:24} {cost_s:6.2f} s")
    assert cost_s <= MOST_S


@pytest.mark.parametrize(
    ("role", "point"),
    [
        ("member", points("ready", sent=(1,))[0]),
        ("member", points("exchange", sent=(2,))[0]),
        ("member", points("report", sent=(1,))[0]),
        ("leader", points("exchange", received=(13,))[0]),
        ("leader", points("report", sent=(2,))[0]),
        ("coordinator", points("ready", sent=(2,))[0]),
    ],
)
def test_so_does_one_in_the_first_round_of_all(role: Role, point: Point) -> None:
    """Nothing is known yet of how long links take."""
    cost_s = Course("local", role, point, "freeze", experienced=False).seconds() - undisturbed_s("local")
    sys.stdout.write(f"\n{'freeze':8} {role:10} {point!s:24} {cost_s:6.2f} s at first")
    assert cost_s <= MOST_S
