"""What trainer and node say to each other, over a real socket pair."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.core.fragments import Fragments
from gossiptrain.net.transport import PeerId
from gossiptrain.node import control
from gossiptrain.node.control_socket import ControlClosedError, NodeSide, TrainerSide
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.round import RoundResult

CONFIGURE = control.Configure(
    fingerprint=RunFingerprint(PROTOCOL_VERSION, "run", "task", "ab", 7, "average"),
    fragments=Fragments((4, 3)),
    state_vectors=1,
    weighs_average=True,
    average_is_state=True,
    gossip=GossipSettings(gossip_alpha=0.5, every_steps=3),
    network=NetworkSettings(initial_peers=("/ip4/127.0.0.1/tcp/1/p2p/12D3KooW",), preset="wan"),
    step=5,
    ports={"ip4/tcp": 4011},
    take_state=True,
    must_join=False,
)
ENDED = control.RoundEnded(
    averaged=AveragedRound(
        number=3,
        formation_seconds=0.01,
        samples=(4, 5),
        result=RoundResult(
            committed=True, members=(PeerId("a"), PeerId("b")), attempts=1, seconds=0.25, bytes_sent=9, disagreement=0.5
        ),
    ),
    paths={"b": "direct"},
)


def with_node_side(work: Callable[[NodeSide, TrainerSide], Awaitable[None]]) -> None:
    mine, theirs = socket.socketpair()
    trainer = TrainerSide(mine)

    async def scenario() -> None:
        node = await NodeSide.attach(theirs)
        try:
            await work(node, trainer)
        finally:
            trainer.close()
            node.close()

    asyncio.run(scenario())


def test_settings_arrive_as_they_were_sent() -> None:
    async def work(node: NodeSide, trainer: TrainerSide) -> None:
        trainer.send(CONFIGURE)
        trainer.send(control.Leave())
        assert await node.receive() == CONFIGURE
        assert await node.receive() == control.Leave()

    with_node_side(work)


def test_the_trainer_hears_messages_in_order_and_silence_as_none() -> None:
    async def work(node: NodeSide, trainer: TrainerSide) -> None:
        node.send(ENDED)
        node.send(control.StateWanted())
        await node.flush()
        assert await asyncio.to_thread(trainer.receive, 5.0) == ENDED
        assert await asyncio.to_thread(trainer.receive, 5.0) == control.StateWanted()
        assert await asyncio.to_thread(trainer.receive, 0.01) is None

    with_node_side(work)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\0\0\0\4Leav", b"\0\0\0\2{}"])
def test_whatever_is_not_a_message_ends_the_connection(garbage: bytes) -> None:
    mine, theirs = socket.socketpair()
    trainer = TrainerSide(mine)
    theirs.sendall(garbage)
    theirs.close()
    with pytest.raises(ControlClosedError):
        trainer.receive(5.0)
    trainer.close()


def test_the_end_of_the_trainer_is_heard_by_the_node() -> None:
    async def work(node: NodeSide, trainer: TrainerSide) -> None:
        trainer.close()
        with pytest.raises(ControlClosedError):
            await node.receive()

    with_node_side(work)


def test_closing_wakes_a_reader_that_waits() -> None:
    mine, theirs = socket.socketpair()
    trainer = TrainerSide(mine)
    ended = threading.Event()

    def read() -> None:
        try:
            while True:
                trainer.receive(30.0)
        except ControlClosedError:
            ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    started_s = time.monotonic()
    trainer.close()
    reader.join(10.0)
    assert ended.is_set()
    assert time.monotonic() - started_s < 10.0
    theirs.close()
    with pytest.raises(ControlClosedError):
        trainer.send(control.Leave())
