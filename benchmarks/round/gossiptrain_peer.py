"""A peer of `round` that is a node of this project, as beside a trainer, by a given path and codec.

Owns the settings of the peer: the defaults. Does not know how paths and codecs work.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import uvloop

from benchmarks.round.contender import (
    MEET_TIMEOUT_S,
    Contender,
    IncompleteRoundError,
    Job,
    ResultT,
    Timing,
)
from gossiptrain.config import GossipSettings, NetworkSettings, SettingsT
from gossiptrain.core.codecs import prepare
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.node.memory import SharedVectors
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.fragments import WholeModel
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.state import Donation

TOLERANCES = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.1, "int8": 0.25, "int4": 1.0}


class Gossiptrain(Contender):
    """Runs its event loop whenever this process waits for something."""

    def __init__(self, job: Job, *, path: str, codec: str) -> None:
        super().__init__(job)
        self.tolerance = TOLERANCES[codec]
        self._path = path
        self._network = chosen(NetworkSettings(host_maddrs=(f"/ip4/{job.host}/tcp/0",)), direct=path)
        self._gossip = chosen(GossipSettings(), codec=codec)
        if codec != "fp32":
            prepare()
        memory = SharedVectors.create(job.elements, state=job.elements)
        memory.snapshot.fill(0.0)
        memory.average.fill(0.0)
        self._buffers = Buffers(memory.snapshot, memory.average)
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._transport: Libp2pTransport | None = None
        self._peer: SwarmPeer
        self._background: asyncio.Task[None] | None = None

    def open(self) -> str:
        return self._runner.run(self._open())

    def meet(self, addresses: Sequence[str]) -> None:
        self._runner.run(self._meet(addresses))

    def prepare(self) -> None:
        # The last average stays, as in training.
        self.contributions.write(self.job.rank, self._buffers.snapshot)

    def run(self, begin_s: float) -> Timing:
        return self._runner.run(self._round(begin_s))

    def error(self) -> float:
        return self.contributions.error(self._buffers.average)

    def close(self) -> None:
        self._runner.run(self._close())
        self._runner.close()

    def idle(self, until: Callable[[], ResultT]) -> ResultT:
        return self._runner.run(asyncio.to_thread(until))

    async def _open(self) -> str:
        self._transport = await Libp2pTransport.start(self._network, Identity.generate())
        self._peer = SwarmPeer(
            Environment(self._transport, random.Random(os.urandom(16)), incarnation=1),
            RunFingerprint(PROTOCOL_VERSION, "round", "benchmark", "00" * 32, self.job.elements),
            settings=self._gossip,
            timing=self._network.timing,
            donate=no_state,
        )
        await self._peer.open()
        return self._transport.addresses[0]

    async def _meet(self, addresses: Sequence[str]) -> None:
        membership = self._peer.membership
        # As a trainer does that has reached its round: others then wait for it.
        membership.describe(replace(membership.own, ready_in_s=0.0))
        await self._peer.join(addresses[:1] if self.job.rank else [])
        self._background = asyncio.create_task(self._peer.run())
        async with asyncio.timeout(MEET_TIMEOUT_S):
            while len(membership.trainers()) < self.job.peers:  # noqa: ASYNC110 - nothing to wait on
                await asyncio.sleep(0.02)

    async def _round(self, begin_s: float) -> Timing:
        await asyncio.sleep(max(0.0, begin_s - time.monotonic()))
        started_s = time.monotonic()
        averaged = await self._peer.participation.average(WholeModel(self._buffers), samples=1)
        whole_s = time.monotonic() - started_s
        if averaged is None:
            raise IncompleteRoundError("no group")
        result = averaged.result
        if not result.committed or len(result.members) != self.job.peers:
            raise IncompleteRoundError(f"a group of {len(result.members)}; {result.reason or 'committed'}")
        assert self._transport is not None
        paths = [self._transport.paths_used.get(peer) for peer in result.members if peer != self._transport.peer_id]
        # None: so few bytes for each link that a direct connection would take longer than libp2p's daemons do.
        if any(path not in (None, self._path) for path in paths):
            raise IncompleteRoundError(f"not all went by the path {self._path}")
        return Timing(averaged.formation_seconds, result.seconds, whole_s)

    async def _close(self) -> None:
        if self._background is not None:
            self._background.cancel()
            await asyncio.gather(self._background, return_exceptions=True)
        if self._transport is not None:
            await self._transport.close()


def chosen(settings: SettingsT, **values: str) -> SettingsT:
    """The settings with the values given, checked again."""
    return type(settings).model_validate({**settings.model_dump(), **values})


async def no_state(held: HeldAverage | None, fragment: int) -> Donation | None:
    """Nobody asks for the state here."""
    return None
