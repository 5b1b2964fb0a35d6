"""Joiners and donors for the tests of how parameters are handed over."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from gossiptrain.core.averaging import Vector
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.corroboration import Comparison
from gossiptrain.swarm.download import Download, ReceivedState
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.state import Donation
from tests.swarm.swarms import ELEMENTS, Swarm, TestPeer

MOST_STEPS = 10_000


@dataclass
class Joiner:
    """A peer that is given the parameters by donors of the test's choice."""

    peer: TestPeer
    into: Vector = field(default_factory=lambda: np.zeros(ELEMENTS, np.float32))
    failures: list[tuple[PeerId, OSError]] = field(default_factory=list)
    compared: int = 0
    """Values at the beginning that are compared with those of others."""

    def __post_init__(self) -> None:
        comparison = Comparison(self.compared, random.Random(0)) if self.compared else None
        self.download = Download(self.peer.swarm.admission, self.into, comparison=comparison)

    async def take_from(self, *donors: TestPeer, most_steps: int = MOST_STEPS) -> ReceivedState | None:
        return await self.download.run(
            [donor.id for donor in donors],
            most_steps=most_steps,
            failed=lambda donor, error: self.failures.append((donor, error)),
        )


async def fetch(joiner: TestPeer, *donors: TestPeer, most_steps: int = MOST_STEPS) -> tuple[Vector, ReceivedState]:
    """The parameters, by the first of the donors that gives them. Raises what the last of them failed with."""
    taking = Joiner(joiner)
    received = await taking.take_from(*donors, most_steps=most_steps)
    if received is None:
        raise taking.failures[-1][1]
    return taking.into, received


def donate_from(peer: TestPeer, vector: Vector, *, step: int = 0) -> None:
    """From now on the peer gives this vector as its own snapshot."""

    async def donate(held: HeldAverage | None, fragment: int) -> Donation:
        return Donation(vector, step)

    peer.swarm._state_server._donate = donate


async def train_on(swarm: Swarm) -> Vector:
    """Has all peers hold one average and then learn something of their own. Returns the average."""
    await swarm.average()
    average = next(iter(swarm.peers.values())).buffers.average.copy()
    for number, peer in enumerate(swarm.peers.values(), 1):
        peer.values += np.float32(number)
    return average
