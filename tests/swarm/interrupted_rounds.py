"""Rounds of four peers, one of which is interrupted in the first: what two of them cost the others.

    cost_s = Course("leader", 0.014, "freeze", links=LINKS["small buffers"]).cost_s()

The fault happens at a point of the protocol, see `interruptions`, or at an instant, in seconds from the beginning of
the first round.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from gossiptrain.config import PRESETS, GossipSettings
from gossiptrain.core.grouping import coordinators, leaders
from tests.swarm.interruptions import Fault, ObservedNetwork, Point, Victim
from tests.swarm.swarms import Swarm, swarm_of
from tests.transports import MakeTransport, run_on

Role = Literal["member", "leader", "coordinator"]
LATENCY_S = 0.002
CHUNK_BYTES = 256
"""Four chunks for each slice of the vectors of these swarms."""
TIMING = PRESETS["local"].model_copy(update={"chunk_bytes": CHUNK_BYTES})
LONGEST_S = 60.0
"""A course that takes so long has failed."""
PAUSE_S = 0.01
"""Before a peer that found no group looks for the next one."""
BEFORE = Point("before the round", sends=True, number=1)


@dataclass(frozen=True)
class Links:
    """Between all peers. A writer waits when `buffer_bytes` bytes are on their way or not yet read."""

    buffer_bytes: int = 256 << 10
    bandwidth_bytes_per_s: float | None = None


USUAL_LINKS = Links()
LINKS = {
    "usual": USUAL_LINKS,
    "small buffers": Links(buffer_bytes=1 << 10),
    "slow": Links(bandwidth_bytes_per_s=100_000.0),
    "slow, small buffers": Links(buffer_bytes=1 << 10, bandwidth_bytes_per_s=100_000.0),
}


@dataclass(frozen=True)
class Took:
    """Seconds until all others have ended their first round, and until they have two that committed."""

    first_s: float
    both_s: float


def roles_in(swarm: Swarm) -> dict[Role, str]:
    """Who has which part in the next round, by the rules that the peers follow."""
    peer = swarm.peers["a"].swarm
    names = {str(other.id): name for name, other in swarm.peers.items()}
    run, number = peer.fingerprint.key, peer.membership.round
    coordinator = names[coordinators(list(names), run=run, round_number=number, seed=0)[0]]
    leader = names[leaders(list(names), run=run, round_number=number, seed=0)[0]]
    member = next(name for name in names.values() if name not in (coordinator, leader))
    return {"coordinator": coordinator, "leader": leader, "member": member}


async def reach_distinct_roles(swarm: Swarm) -> dict[Role, str]:
    """Goes on to a round in which all roles are those of different peers."""
    while len(set((roles := roles_in(swarm)).values())) < 3:
        for peer in swarm.peers.values():
            peer.swarm.membership.reach_round(peer.swarm.membership.round + 1)
        await swarm.know_each_other()
    return roles


class Course:
    """One run of two rounds.

    when: a point, or seconds from the beginning of the first round; None where nothing happens. experienced: whether
    there were rounds before, from which links are known. run: its name, on which depends in which order the peers rank.
    """

    def __init__(
        self,
        role: Role,
        when: Point | float | None,
        fault: Fault,
        *,
        links: Links = USUAL_LINKS,
        experienced: bool = True,
        run: str = "run",
    ) -> None:
        self._role, self._when, self._fault = role, when, fault
        self._links, self._experienced, self._run_name = links, experienced, run
        self._network = ObservedNetwork(
            latency_s=LATENCY_S, buffer_bytes=links.buffer_bytes, bandwidth_bytes_per_s=links.bandwidth_bytes_per_s
        )

    def cost_s(self) -> float:
        """What both rounds take the others beyond two that nothing interrupts."""
        return self.took().both_s - undisturbed(self._links, experienced=self._experienced, run=self._run_name).both_s

    def took(self) -> Took:
        """Runs it."""
        return run_on("virtual", self._run, network=self._network)

    async def _run(self, make: MakeTransport) -> Took:
        async with swarm_of(make, 4, settings=GossipSettings(), timing=TIMING, run=self._run_name) as swarm:
            if self._experienced:
                await swarm.average()
            roles = await reach_distinct_roles(swarm)
            victim = Victim(self._network, swarm, roles[self._role], fault=self._fault)
            others = [name for name in swarm.peers if name != victim.name or self._when is None]
            self._plan(victim)
            took = await self._measure(swarm, victim, others)
            assert self._network.interrupted, "the point is not reached in this round"
            await victim.end()
            return took

    async def _measure(self, swarm: Swarm, victim: Victim, others: list[str]) -> Took:
        """Every peer goes from one round to the next, as trainers do, until all the others have had two."""
        clock = swarm.peers["a"].swarm.transport.clock
        started_s = clock.now()
        committed, ended_s = Counter(dict.fromkeys(others, 0)), dict.fromkeys(others, 0.0)
        done = asyncio.Event()

        async def average_forever(name: str) -> None:
            while True:
                averaged = await swarm.peers[name].average()
                if averaged is None:
                    await clock.sleep(PAUSE_S)
                if name in committed:
                    committed[name] += averaged is not None and averaged.result.committed
                    ended_s[name] = ended_s[name] or clock.now() - started_s
                    if min(committed.values()) >= 2:
                        done.set()

        averaging = {name: asyncio.create_task(average_forever(name)) for name in swarm.peers}
        if self._when is not None:
            victim.work.append(averaging[victim.name])
        async with clock.timeout(LONGEST_S):
            await done.wait()
        took = Took(max(ended_s.values()), clock.now() - started_s)
        for name in others:
            averaging[name].cancel()
        await asyncio.gather(*(averaging[name] for name in others), return_exceptions=True)
        return took

    def _plan(self, victim: Victim) -> None:
        if self._when == BEFORE:
            victim.strike()
        elif isinstance(self._when, Point):
            self._network.interrupt(self._when, victim=victim.name, action=victim.strike)
        elif self._when is not None:
            asyncio.get_running_loop().call_later(self._when, victim.strike)


@functools.cache
def undisturbed(links: Links, *, experienced: bool = True, run: str = "run") -> Took:
    """What nothing interrupts."""
    return Course("member", None, "crash", links=links, experienced=experienced, run=run).took()


def instants_s(links: Links, *, even: int, random_ones: int, experienced: bool = True) -> list[float]:
    """Instants from the beginning of an undisturbed round to its end: so many parts apart, and so many at random."""
    length_s = undisturbed(links, experienced=experienced).first_s
    rng = random.Random(0)
    spread = [number * length_s / even for number in range(even + 1)]
    return sorted(spread + [rng.uniform(0.0, length_s) for _ in range(random_ones)])
