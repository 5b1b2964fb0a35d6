"""Whole swarms for protocol tests: peers with small vectors instead of models, on any transport."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gossiptrain.config import GossipSettings, TimingSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import prepare
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.net.transport import Clock, PeerId
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.ending import Farewell, Grace
from gossiptrain.swarm.fragments import WholeModel
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.member_table import Change
from gossiptrain.swarm.own_heartbeat import OwnState
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.peer import Environment, SwarmPeer
from gossiptrain.swarm.state import Donation
from tests.transports import MakeTransport

ELEMENTS = 1000
TIMING = TimingSettings(
    heartbeat_s=0.2,
    lifetime_s=1.5,
    dial_timeout_s=2.0,
    stall_timeout_s=1.0,
    probe_timeout_s=0.5,
    round_timeout_s=20.0,
    directory_s=2.0,
    chunk_bytes=256,
)


class StoppedClock(Clock):
    """For what only has to be told some time."""

    def now(self) -> float:
        return 0.0


def fingerprint(**changes: Any) -> RunFingerprint:
    fields = {"protocol": PROTOCOL_VERSION, "run": "run", "task": "task", "model": "ab" * 32, "elements": ELEMENTS}
    return RunFingerprint(**{**fields, **changes})


@dataclass
class TestPeer:
    """A swarm peer, its vector, and the task that keeps its membership fresh."""

    __test__ = False

    name: str
    swarm: SwarmPeer
    incarnation: int
    values: Vector
    changes: list[tuple[Change, PeerId]] = field(default_factory=list)
    buffers: Buffers = field(
        default_factory=lambda: Buffers(np.zeros(ELEMENTS, np.float32), np.full(ELEMENTS, np.nan, np.float32))
    )
    background: asyncio.Task[None] | None = None

    @property
    def id(self) -> PeerId:
        return self.swarm.transport.peer_id

    async def average(self, *, samples: int = 1, alpha: float = 1.0) -> AveragedRound | None:
        """One round by the delta rule; the values change only where it commits."""
        self.buffers.snapshot[:] = self.values
        return self._take(
            await self.swarm.participation.average(WholeModel(self.buffers), samples=samples), alpha=alpha
        )

    async def merge(self) -> AveragedRound | None:
        """One round with everyone."""
        self.buffers.snapshot[:] = self.values
        return self._take(await self.swarm.participation.merge(WholeModel(self.buffers), samples=1), alpha=1.0)

    async def end(self, grace: Grace, *, follow_up: bool = False) -> AveragedRound | None:
        """The last rounds, until one is the last of all that end."""
        while True:
            self.buffers.snapshot[:] = self.values
            farewell = Farewell(grace=grace, patience_s=4.0, follow_up=follow_up)
            averaged = await self.swarm.participation.end(WholeModel(self.buffers), samples=1, farewell=farewell)
            self._take(averaged, alpha=1.0)
            if averaged is None or averaged.ended:
                return averaged

    def _take(self, averaged: AveragedRound | None, *, alpha: float) -> AveragedRound | None:
        if averaged is not None and averaged.result.committed:
            self.values[:] = self.values + np.float32(alpha) * (self.buffers.average - self.buffers.snapshot)
            if alpha == 1.0:
                self.values[:] = self.buffers.average
        return averaged

    def is_ready(self) -> None:
        """Says, with the next heartbeat, that it is about to be ready."""
        own = self.swarm.membership.own
        self.swarm.membership.describe(OwnState(round=own.round, step=own.step, ready_in_s=0.0))

    async def stop(self) -> None:
        if self.background is not None:
            self.background.cancel()
            await asyncio.gather(self.background, return_exceptions=True)
            self.background = None


class Swarm:
    """Starts peers that know each other through the first of them."""

    def __init__(
        self,
        make_transport: MakeTransport,
        settings: GossipSettings,
        *,
        timing: TimingSettings,
        run: RunFingerprint,
        access_of: Callable[[str, PeerId], PrivateAccess | None] = lambda name, peer: None,
    ) -> None:
        """access_of: by name and id what makes each a member of a private swarm; by default the swarm is open."""
        self._access_of = access_of
        self._make_transport = make_transport
        self._settings = settings
        self._timing = timing
        self._run = run
        self._starts = 0
        self.peers: dict[str, TestPeer] = {}

    async def add(self, name: str, *, run: RunFingerprint | None = None, initial: str | None = "first") -> TestPeer:
        """Starts a peer; `initial` names the one whose address it is given, by default the first that was started."""
        transport = await self._make_transport(name)
        self._starts += 1
        rng = np.random.default_rng(self._starts)
        values = rng.normal(size=ELEMENTS).astype(np.float32)
        changes: list[tuple[Change, PeerId]] = []

        async def donate(held: HeldAverage | None, fragment: int) -> Donation | None:
            if held is not None:
                return Donation(held.vector.copy(), held.step, held)
            return Donation(peer.values.copy(), swarm.membership.own.step)

        swarm = SwarmPeer(
            Environment(transport, random.Random(self._starts), self._starts, self._access_of(name, transport.peer_id)),
            run or self._run,
            settings=self._settings,
            timing=self._timing,
            donate=donate,
            on_change=lambda change, peer: changes.append((change, peer)),
        )
        peer = TestPeer(name, swarm, self._starts, values, changes)
        await swarm.open()
        peer.is_ready()
        if initial == "first":
            initial = next(iter(self.peers), None)
        addresses = [] if initial is None else [self.peers[initial].swarm.transport.addresses[0]]
        await swarm.join(addresses)
        peer.background = asyncio.create_task(swarm.run())
        self.peers[name] = peer
        return peer

    async def know_each_other(self) -> None:
        """Waits until every peer sees all others alive, as they were last started."""
        everyone = {peer.id: peer.incarnation for peer in self.peers.values()}
        for peer in self.peers.values():
            others = {other: incarnation for other, incarnation in everyone.items() if other != peer.id}
            while not others.items() <= self._seen_by(peer).items():
                await peer.swarm.transport.clock.sleep(0.01)

    def _seen_by(self, peer: TestPeer) -> dict[PeerId, int]:
        return {other: heartbeat.incarnation for other, heartbeat in peer.swarm.membership.live().items()}

    async def average(self, *names: str, samples: int = 1, alpha: float = 1.0) -> dict[str, AveragedRound | None]:
        """One round of all named peers, by default of all."""
        chosen = names or tuple(self.peers)
        rounds = await asyncio.gather(*(self.peers[name].average(samples=samples, alpha=alpha) for name in chosen))
        return dict(zip(chosen, rounds, strict=True))

    async def close(self) -> None:
        for peer in self.peers.values():
            await peer.stop()


@asynccontextmanager
async def swarm_of(
    make_transport: MakeTransport,
    count: int,
    *,
    settings: GossipSettings | None = None,
    timing: TimingSettings = TIMING,
    run: str = "run",
) -> AsyncIterator[Swarm]:
    """A swarm of `count` peers named a, b, c, ... that all know each other. run: on its name ranks depend."""
    settings = settings or GossipSettings(matchmaking_time=2.0)
    if settings.codec != "fp32":
        prepare()  # As a node does at its start: else all stand still in their first round, and are taken for dead.
    swarm = Swarm(make_transport, settings, timing=timing, run=fingerprint(run=run))
    try:
        for index in range(count):
            await swarm.add(string.ascii_letters[index])
        await swarm.know_each_other()
        yield swarm
    finally:
        await swarm.close()
