"""Interrupts one peer of a swarm at an exact point of the protocol: at the n-th message or chunk that it sends or is
sent on a protocol.

    network = ObservedNetwork()
    victim = Victim(network, swarm, "a", fault="crash")
    network.interrupt(Point("exchange", sends=True, number=3), victim=victim.name, action=victim.strike)

Every piece that a peer writes to a stream counts, whether it opened the stream or serves it. The action happens right
before the piece is sent, so a crash or freeze takes this very piece with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork, VirtualTransport
from gossiptrain.net.virtual.stream import Pipe, VirtualStream
from tests.swarm.swarms import Swarm, TestPeer

Fault = Literal["crash", "restart", "freeze"]


@dataclass(frozen=True)
class Point:
    """The n-th piece, from 1, that the victim sends on a protocol, or that is sent to it."""

    protocol: str
    sends: bool
    number: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.number} {'sent' if self.sends else 'received'}"


def points(protocol: str, *, sent: tuple[int, ...] = (), received: tuple[int, ...] = ()) -> list[Point]:
    """Points by the numbers of what is sent and received."""
    return [Point(protocol, True, number) for number in sent] + [Point(protocol, False, number) for number in received]


@dataclass
class _Interruption:
    point: Point
    victim: str
    action: Callable[[], None]
    seen: int = 0


class ObservedNetwork(VirtualNetwork):
    """A network in memory that counts what passes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._interruption: _Interruption | None = None

    def interrupt(self, point: Point, *, victim: str, action: Callable[[], None]) -> None:
        """Calls `action` once, from now on, when the point is reached."""
        self._interruption = _Interruption(point, victim, action)

    @property
    def interrupted(self) -> bool:
        """Whether the point was reached."""
        return self._interruption is None

    def transport(self, peer: str) -> VirtualTransport:
        if not peer or peer in self._peers:
            raise ValueError(f"{peer!r} cannot be started")
        self._peers[peer] = _ObservedTransport(self, PeerId(peer))
        return self._peers[peer]

    def note(self, source: str, target: str, protocol: str) -> None:
        """A piece is about to be sent."""
        planned = self._interruption
        if planned is None or planned.point.protocol != protocol:
            return
        if planned.victim != (source if planned.point.sends else target):
            return
        planned.seen += 1
        if planned.seen == planned.point.number:
            self._interruption = None
            planned.action()


class _ObservedTransport(VirtualTransport):
    def accept(self, caller: VirtualTransport, protocol: str) -> VirtualStream:
        stream = super().accept(caller, protocol)
        name = protocol.rpartition("/")[2]
        self._observe(stream._outgoing, caller.peer_id, self.peer_id, name)
        self._observe(stream._incoming, self.peer_id, caller.peer_id, name)
        return stream

    def _observe(self, pipe: Pipe, source: str, target: str, protocol: str) -> None:
        write, network = pipe.write, self._network
        assert isinstance(network, ObservedNetwork)

        async def observed(data: memoryview) -> int:
            network.note(source, target, protocol)
            return await write(data)

        pipe.write = observed  # type: ignore[method-assign]


async def _average_forever(peer: TestPeer) -> None:
    while True:
        await peer.average()


@dataclass
class Victim:
    """One peer of a swarm that crashes, restarts or freezes when it is told to.

    life: what it does after a restart.
    """

    network: ObservedNetwork
    swarm: Swarm
    name: str
    _: KW_ONLY
    fault: Fault
    life: Callable[[TestPeer], Awaitable[None]] = _average_forever
    work: list[asyncio.Task[Any]] = field(default_factory=list)
    """What it is doing, which ends with it."""
    _aftermath: list[asyncio.Task[None]] = field(default_factory=list)

    def strike(self) -> None:
        """The fault happens now."""
        self.network.freeze(self.name)
        if self.fault != "freeze":
            self._aftermath.append(asyncio.create_task(self._die()))

    async def _die(self) -> None:
        for task in self.work:
            task.cancel()
        await self.swarm.peers[self.name].stop()
        self.network.crash(self.name)
        if self.fault == "restart":
            initial = next(name for name in self.swarm.peers if name != self.name)
            await self.life(await self.swarm.add(self.name, initial=initial))

    async def end(self) -> None:
        """Ends all that it does, so that the swarm can be closed."""
        if self.fault == "freeze":
            self.network.thaw(self.name)
        for task in (*self._aftermath, *self.work):
            task.cancel()
        await asyncio.gather(*self._aftermath, *self.work, return_exceptions=True)
