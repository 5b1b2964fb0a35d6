"""What a node does with its trainer's words, on the network in memory: no process, no daemon."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fragments import Fragments
from gossiptrain.net.framing import Message
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.virtual.network import VirtualNetwork, VirtualTransport
from gossiptrain.net.virtual.wires import LinkSettings
from gossiptrain.node import control
from gossiptrain.node.control_socket import NodeSide
from gossiptrain.node.memory import SharedVectors
from gossiptrain.node.process import Node
from tests.swarm.swarms import ELEMENTS, Swarm, fingerprint, swarm_of
from tests.transports import MakeTransport, run_on, until

PROGRESS_S = 0.5
MOST_S = 3.0


class Trainer:
    """The trainer's side: what it says, and what it was told."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.frozen = False
        self.has_moments = True
        self._said: asyncio.Queue[Message] = asyncio.Queue()

    def send(self, message: Message) -> None:
        self.told.append(message)
        if isinstance(message, control.StateWanted) and not self.frozen:
            self.say(control.StateTaken(step=7, found=self.has_moments or not message.moments))

    async def receive(self) -> Message:
        return await self._said.get()

    def say(self, message: Message) -> None:
        self._said.put_nowait(message)

    async def make_steps(self) -> None:
        """Says every half second that it is ready, until it is frozen."""
        while not self.frozen:
            self.say(control.Progress(step=7, ready_in_s=0.0))
            await asyncio.sleep(PROGRESS_S)


async def _answers(within_s: float) -> bool:
    return True


class Peer:
    """A node with its trainer, beside the peers of a swarm."""

    def __init__(self, transport: VirtualTransport, initial_peer: str) -> None:
        transport.daemon_exited = asyncio.Event()  # type: ignore[attr-defined]
        transport.daemon_alive = _answers  # type: ignore[attr-defined]
        transport.paths_used = {}  # type: ignore[attr-defined]
        transport.bound_strangers = lambda admitted: None  # type: ignore[attr-defined]
        self.peer_id = transport.peer_id
        self.trainer = Trainer()
        self.memory = SharedVectors.create(ELEMENTS, state=ELEMENTS)
        self.memory.snapshot[:] = np.ones(ELEMENTS, np.float32)
        configure = control.Configure(
            fingerprint=fingerprint(),
            fragments=Fragments((ELEMENTS,)),
            average_is_state=True,
            gossip=GossipSettings(),
            network=NetworkSettings(initial_peers=(initial_peer,), preset="local", local_network=False, relay=False),
            take_state=False,
        )
        self._node = Node(
            cast("NodeSide", self.trainer),
            self.memory,
            configure,
            cast(Libp2pTransport, transport),
            incarnation=1,
            access=None,
        )
        self.task = asyncio.create_task(self._node.run())

    async def joined(self) -> None:
        await until(lambda: any(isinstance(message, control.Joined) for message in self.trainer.told))

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.memory.close()


async def peer_beside(swarm: Swarm, make: MakeTransport, name: str = "z") -> Peer:
    transport = cast(VirtualTransport, await make(name))
    peer = Peer(transport, swarm.peers["a"].swarm.transport.addresses[0])
    await peer.joined()
    return peer


def test_whoever_leaves_during_a_round_says_goodbye_and_does_not_wait_for_its_end() -> None:
    network = VirtualNetwork()

    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2, settings=GossipSettings()) as swarm:
            peer = await peer_beside(swarm, make)
            for other in "ab":
                network.set_link("z", other, settings=LinkSettings(bandwidth_bytes_per_s=3000.0))
            peer.trainer.say(control.SnapshotTaken(samples=1))
            others = asyncio.create_task(swarm.average())
            await until(lambda: all(one.swarm._averager._rounds for one in swarm.peers.values()))
            leaves_s = asyncio.get_running_loop().time()
            peer.trainer.say(control.Leave())
            await peer.task
            assert asyncio.get_running_loop().time() - leaves_s < 2.0
            assert all(("left", "z") in one.changes for one in swarm.peers.values())
            await others
            await peer.end()

    run_on("virtual", scenario, network=network)


def test_the_trainer_hears_that_its_round_has_a_group_before_it_hears_how_it_ended() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2, settings=GossipSettings()) as swarm:
            peer = await peer_beside(swarm, make)
            steps = asyncio.create_task(peer.trainer.make_steps())
            tables = [one.swarm.membership for one in swarm.peers.values()]
            await until(lambda: all(table.live()[peer.peer_id].ready_in_s == 0.0 for table in tables))
            peer.trainer.say(control.SnapshotTaken(samples=1))
            await swarm.average()
            await until(lambda: any(isinstance(message, control.RoundEnded) for message in peer.trainer.told))
            told = [type(message) for message in peer.trainer.told]
            assert told.index(control.GroupFound) < told.index(control.RoundEnded)
            peer.trainer.frozen = True
            await steps
            await peer.end()

    run_on("virtual", scenario)


def test_a_frozen_trainer_costs_the_others_at_most_three_seconds_in_all() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 3, settings=GossipSettings()) as swarm:
            peer = await peer_beside(swarm, make)
            steps = asyncio.create_task(peer.trainer.make_steps())
            await asyncio.sleep(3 * PROGRESS_S)
            peer.trainer.frozen = True
            started_s = asyncio.get_running_loop().time()
            for _ in range(10):
                rounds = await swarm.average()
                assert all(found is not None and found.result.committed for found in rounds.values())
            assert asyncio.get_running_loop().time() - started_s < MOST_S
            await steps
            await peer.end()

    run_on("virtual", scenario)


def test_one_that_goes_on_is_waited_for_again() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2, settings=GossipSettings()) as swarm:
            peer = await peer_beside(swarm, make)
            membership = swarm.peers["a"].swarm.membership
            peer.trainer.say(control.Progress(step=7, ready_in_s=0.0))
            await until(lambda: membership.live()[peer_id].ready_in_s == 0.0)
            await until(lambda: membership.live()[peer_id].ready_in_s is None)
            peer.trainer.say(control.Progress(step=7, ready_in_s=0.0))
            await until(lambda: membership.live()[peer_id].ready_in_s == 0.0)
            await peer.end()

    peer_id = VirtualNetwork().transport("z").peer_id
    run_on("virtual", scenario)


def test_the_node_of_a_frozen_trainer_refuses_to_give_the_state() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 2, settings=GossipSettings()) as swarm:
            peer = await peer_beside(swarm, make)
            peer.trainer.say(control.Progress(step=7, ready_in_s=0.0))
            live = swarm.peers["b"].swarm.membership.live
            await until(lambda: any(beat.step == 7 for beat in live().values()))
            peer.trainer.frozen = True
            started_s = asyncio.get_running_loop().time()
            received = await swarm.peers["b"].swarm.take_state(np.zeros(ELEMENTS, np.float32))
            assert received is not None
            assert received.donor == swarm.peers["a"].id, "the next one gives it"
            assert asyncio.get_running_loop().time() - started_s < MOST_S
            await peer.end()

    run_on("virtual", scenario)
