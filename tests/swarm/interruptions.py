"""Interrupts one peer of a swarm at an exact point of the protocol: at the n-th message or chunk that it sends or is
sent on a protocol.

    network = ObservedNetwork()
    network.interrupt(Point("exchange", sends=True, number=3), victim="a", action=lambda: network.freeze("a"))

Every piece that a peer writes to a stream counts, whether it opened the stream or serves it. The action happens right
before the piece is sent, so a crash or freeze takes this very piece with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork, VirtualTransport
from gossiptrain.net.virtual.stream import Pipe, VirtualStream


@dataclass(frozen=True)
class Point:
    """The n-th piece, from 1, that the victim sends on a protocol, or that is sent to it."""

    protocol: str
    sends: bool
    number: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.number} {'sent' if self.sends else 'received'}"


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
