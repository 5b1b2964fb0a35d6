"""Connections of peers that are no members, and no more of them than this computer bears.

libp2p's daemon holds whatever connections and streams others open, some without a word to this process, and each takes
memory. Owns when there are too many, and that the daemon ends them then: those of strangers, never those of
peers that are known, and of strangers those that had time to say who they are. Does not know what makes a peer known.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable
from pathlib import Path

from gossiptrain.net.libp2p.daemon_control import DaemonControl
from gossiptrain.net.libp2p.hivemind_names import PeerID, p2pd_pb2
from gossiptrain.net.transport import Clock, PeerId, UnreachableError

_logger = logging.getLogger(__package__)
PERIOD_S = 1.0
"""Between two looks while there are strangers or the daemon grows."""
CALM_PERIOD_S = 5.0
"""Else: the daemon lists all connections for each look, and in a large swarm these are many."""
FLOOD_PERIOD_S = 0.25
"""While there are more strangers than are borne for long."""
PATIENCE_S = 5.0
"""A stranger who was there for so long has had time to say who it is. That takes a few round trips, and on computers
that are busy with many peers, seconds."""
MAX_STRANGERS = 64
"""Where more come within that time, those who came first have less of it: each connection takes the daemon some 100 kB,
and a flood has brought 370 of them in a second."""
MAX_GROWTH_BYTES = 24 << 20
"""By which the daemon may grow while strangers are connected: one of them can open thousands of streams."""
CALM_AGAIN_LOOKS = 1000
"""After about so many looks, what the daemon takes counts as what it takes without a flood."""
SILENCE_S = 60.0
"""It is said once in so long."""


class Strangers:
    """Watches over those who are connected to one daemon."""

    def __init__(
        self,
        control: DaemonControl,
        clock: Clock,
        *,
        is_known: Callable[[PeerId], bool],
        memory_bytes: Callable[[], int],
    ) -> None:
        """memory_bytes: what the daemon takes now."""
        self._control = control
        self._clock = clock
        self._is_known = is_known
        self._memory_bytes = memory_bytes
        self._calm_bytes = memory_bytes()
        self._names: dict[bytes, PeerId] = {}
        """Of those who were connected at the last look."""
        self._since_s: dict[PeerId, float] = {}
        """When each stranger was first seen, of those who were connected at the last look."""
        self._told_s = -SILENCE_S

    async def run(self) -> None:
        """Looks again and again, until cancelled or the daemon ends."""
        while True:
            await self._rest()
            try:
                await self.look()
            except UnreachableError:
                return

    async def _rest(self) -> None:
        """Until it is time for the next look. What the daemon takes is looked at meanwhile, which costs nothing."""
        waited_s = 0.0
        period_s = PERIOD_S if len(self._since_s) <= MAX_STRANGERS else FLOOD_PERIOD_S
        while waited_s < CALM_PERIOD_S:
            await self._clock.sleep(period_s)
            waited_s += period_s
            if self._since_s or self._memory_bytes() - self._calm_bytes > MAX_GROWTH_BYTES // 2:
                return

    async def look(self) -> frozenset[PeerId]:
        """Ends connections where there are too many, and says whose. Raises UnreachableError where the daemon ended."""
        response = await self._control.ask(p2pd_pb2.Request(type=p2pd_pb2.Request.LIST_PEERS))
        # Telling an id in letters takes far longer than all else here.
        self._names = {info.id: self._names.get(info.id) or _name_of(info.id) for info in response.peers}
        strangers = frozenset(peer for peer in self._names.values() if not self._is_known(peer))
        now_s = self._clock.now()
        self._since_s = {peer: self._since_s.get(peer, now_s) for peer in strangers}
        stayed = self._stayed_too_long(now_s)
        grown_bytes = self._memory_bytes() - self._calm_bytes
        # What members take grows, too, and there may never be a moment without any stranger.
        self._calm_bytes += grown_bytes // CALM_AGAIN_LOOKS if strangers else grown_bytes
        if not strangers or (len(strangers) <= MAX_STRANGERS and grown_bytes <= MAX_GROWTH_BYTES):
            return frozenset()
        if stayed:
            self._tell(len(stayed))
            await self._control.ask_each([_ending(peer) for peer in sorted(stayed)])
        return stayed

    def _stayed_too_long(self, now_s: float) -> frozenset[PeerId]:
        """Whose time is over; never that of somebody who has only just come."""
        longest_first = sorted(self._since_s, key=lambda peer: (self._since_s[peer], peer))
        patience_over = {peer for peer in longest_first if now_s - self._since_s[peer] >= PATIENCE_S}
        surplus = longest_first[: max(0, len(longest_first) - MAX_STRANGERS)]
        return frozenset(patience_over | {peer for peer in surplus if self._since_s[peer] < now_s})

    def _tell(self, count: int) -> None:
        now_s = self._clock.now()
        if now_s - self._told_s >= SILENCE_S:
            self._told_s = now_s
            _logger.warning("strangers have opened more than a peer bears; the connections of %d were ended", count)


def _ending(peer: PeerId) -> p2pd_pb2.Request:
    disconnect = p2pd_pb2.DisconnectRequest(peer=PeerID.from_base58(peer).to_bytes())
    return p2pd_pb2.Request(type=p2pd_pb2.Request.DISCONNECT, disconnect=disconnect)


def _name_of(id_bytes: bytes) -> PeerId:
    return PeerId(PeerID(id_bytes).to_base58())


def resident_bytes(pid: int) -> int:
    """The memory of a process; 0 where it has ended, or this system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()
