"""What a node gives to joiners, and what its trainer has to do for it."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np
import pytest

from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.time import run_virtual
from gossiptrain.node import control
from gossiptrain.node.control_socket import NodeSide
from gossiptrain.node.donor import KEPT_S, Donor
from gossiptrain.node.forecast import Forecast
from gossiptrain.node.memory import SharedVectors
from gossiptrain.swarm.last_average import HeldAverage
from tests.node.test_process import Trainer, peer_beside
from tests.swarm.swarms import swarm_of
from tests.transports import MakeTransport, run_on, until

ELEMENTS = 3000


class Giving:
    """A donor with its trainer, which answers at once, and an average of ones that it holds."""

    def __init__(
        self,
        *,
        average_is_state: bool,
        state_vectors: int = 1,
        lengths: tuple[int, ...] | None = None,
        moments: tuple[int, ...] = (),
    ) -> None:
        self.memory = SharedVectors.create(ELEMENTS, state=state_vectors * ELEMENTS)
        self.memory.average.fill(1.0)
        self.held = HeldAverage("ab", (PeerId("a"), PeerId("z")), step=5, vector=self.memory.average)
        self.trainer, self.forecast = Trainer(), Forecast()
        self.forecast.heard(asyncio.get_running_loop().time())
        self.donor = Donor(
            cast("NodeSide", self.trainer),
            self.memory,
            self.forecast,
            lengths=lengths or (state_vectors * ELEMENTS,),
            moments=moments,
            average_is_state=average_is_state,
        )
        self.trainer.say = self._hear  # type: ignore[method-assign]

    def _hear(self, message: object) -> None:
        assert isinstance(message, control.StateTaken)
        self.memory.state.fill(2.0)
        self.donor.state_taken(message)

    def trainer_was_asked(self) -> bool:
        return any(isinstance(message, control.StateWanted) for message in self.trainer.told)


def test_the_average_is_given_without_the_trainer_where_it_is_all_that_a_joiner_needs() -> None:
    async def scenario() -> None:
        giving = Giving(average_is_state=True)
        donation = await giving.donor.donate(giving.held, 0)
        assert donation is not None
        assert (donation.step, donation.held) == (5, giving.held)
        giving.memory.average.fill(9.0)  # by the next round
        assert set(donation.vector.tolist()) == {1.0}
        assert not giving.trainer_was_asked()
        donation.release()
        assert set(giving.memory.average.tolist()) == {9.0}

    run_virtual(scenario())


def test_without_an_average_or_where_peers_keep_more_the_trainer_takes_a_snapshot() -> None:
    async def scenario() -> None:
        for average_is_state, holds in ((True, False), (False, True), (False, False)):
            giving = Giving(average_is_state=average_is_state, state_vectors=2)
            held = giving.held if holds else None
            donation = await giving.donor.donate(held, 0)
            assert donation is not None
            assert (donation.step, donation.held) == (7, held)
            assert len(donation.vector) == 2 * ELEMENTS
            assert set(donation.vector.tolist()) == {2.0}

    run_virtual(scenario())


def test_of_a_trainer_that_is_silent_not_even_the_average_is_given() -> None:
    async def scenario() -> None:
        giving = Giving(average_is_state=True)
        giving.trainer.frozen = True
        await asyncio.sleep(60.0)
        assert await giving.donor.donate(giving.held, 0) is None

    run_virtual(scenario())


def test_each_fragment_is_asked_for_by_itself_and_one_that_there_is_not_is_refused() -> None:
    async def scenario() -> None:
        giving = Giving(average_is_state=False, lengths=(1000, 2000))
        for fragment, length in ((0, 1000), (1, 2000)):
            donation = await giving.donor.donate(None, fragment)
            assert donation is not None
            assert len(donation.vector) == length
        assert giving.trainer.told == [control.StateWanted(fragment=0), control.StateWanted(fragment=1)]
        assert await giving.donor.donate(None, 2) is None

    run_virtual(scenario())


def test_second_moments_are_a_snapshot_of_the_trainers_as_long_as_the_fragment() -> None:
    async def scenario() -> None:
        giving = Giving(average_is_state=True, state_vectors=2, moments=(1000, 2000))
        donation = await giving.donor.donate_moments(1)
        assert donation is not None
        assert len(donation.vector) == 2000
        assert donation.held is None
        assert set(donation.vector.tolist()) == {2.0}
        assert giving.trainer.told == [control.StateWanted(fragment=1, moments=True)]
        assert await giving.donor.donate_moments(2) is None
        giving.trainer.has_moments = False
        assert await giving.donor.donate_moments(0) is None

    run_virtual(scenario())


def test_the_memory_of_a_fragment_is_kept_for_the_next_one_and_then_let_go_of() -> None:
    async def scenario() -> None:
        giving = Giving(average_is_state=False, lengths=(1000, 2000))
        forgotten: list[float] = []
        loop = asyncio.get_running_loop()
        giving.memory.forget_state = lambda: forgotten.append(loop.time())  # type: ignore[method-assign]
        for fragment in (0, 1):
            donation = await giving.donor.donate(None, fragment)
            assert donation is not None
            await asyncio.sleep(2 * KEPT_S)
            assert not forgotten, "it is being given"
            donation.release()
            released_s = loop.time()
            await asyncio.sleep(KEPT_S / 2)
        await asyncio.sleep(KEPT_S)
        assert forgotten == [pytest.approx(released_s + KEPT_S)]

    run_virtual(scenario())


def test_nodes_of_one_round_give_a_joiner_its_average_while_their_trainers_go_on() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2) as swarm:
            peer = await peer_beside(swarm, make)
            steps = asyncio.create_task(peer.trainer.make_steps())
            # Only for one that they know to be ready do the others wait, whoever of them forms the group.
            tables = [one.swarm.membership for one in swarm.peers.values()]
            await until(lambda: all(table.live()[peer.peer_id].ready_in_s == 0.0 for table in tables))
            peer.trainer.say(control.SnapshotTaken(samples=1))
            await swarm.average()
            into = np.zeros(len(peer.memory.average), np.float32)
            received = await swarm.peers["b"].swarm.take_state(into)
            assert received is not None
            assert into.tobytes() == peer.memory.average.tobytes()
            assert not any(isinstance(message, control.StateWanted) for message in peer.trainer.told)
            peer.trainer.frozen = True
            await steps
            await peer.end()

    run_on("virtual", scenario)
