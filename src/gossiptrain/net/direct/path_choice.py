"""Which path bulk bytes take to each peer: a direct connection that is there, a new one, or a stream of libp2p.

Owns the choice and its memory, so that a peer behind a firewall costs one attempt now and then, and less and less
often, not one in each round. Does not know how either way is opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gossiptrain.config import DirectMode
from gossiptrain.core.recent import Recent
from gossiptrain.net.direct.connections import DIRECT_WORTH_BYTES, DirectConnections
from gossiptrain.net.direct.messages import NoDirectConnectionError
from gossiptrain.net.transport import Clock, PeerId, Stream, UnreachableError

MAX_PEERS = 1024
"""Of so many it is remembered how they were reached."""
AVOID_S = 60.0
"""After a connection to a peer could not be had, the next try is so much later, and after each further one twice as
much, up to `LONGEST_AVOIDED_S`."""
LONGEST_AVOIDED_S = 3600.0


@dataclass(frozen=True)
class _Avoided:
    """Until when, and how long the pause was."""

    until_s: float = 0.0
    pause_s: float = AVOID_S / 2


class PathChoice:
    """Opens bulk streams over connections where possible."""

    def __init__(self, connections: DirectConnections, mode: DirectMode, clock: Clock) -> None:
        self._direct = connections
        self._mode = mode
        self._clock = clock
        self._avoided: Recent[PeerId, _Avoided] = Recent(MAX_PEERS)
        self._unprepared: Recent[PeerId, _Avoided] = Recent(MAX_PEERS)
        self.last_used: Recent[PeerId, str] = Recent(MAX_PEERS)
        """By peer, over what the last bulk stream to it was opened: `direct` or `libp2p`."""

    async def open(
        self, peer: PeerId, protocol: str, *, bulk_bytes: int, over_libp2p: Callable[[], Awaitable[Stream]]
    ) -> Stream:
        """A stream of `protocol` for about so many bytes.

        Raises UnreachableError; with the mode `direct` also where no connection can be had to a peer that is worth one.
        """
        if self._mode != "libp2p":
            kept = await self._direct.open_kept(peer, protocol)
            if kept is not None:
                self._avoided.pop(peer, None)
                return self._note(kept)
        if bulk_bytes < DIRECT_WORTH_BYTES:
            return await over_libp2p()
        avoided = self._avoided.get(peer, _Avoided())
        if self._mode != "libp2p" and self._clock.now() >= avoided.until_s:
            try:
                stream = await self._direct.open(peer, protocol)
            except NoDirectConnectionError as error:
                if self._mode == "direct":
                    raise UnreachableError(f"no connection to {peer}: {error}") from error
                self._avoid(peer, self._avoided)
            else:
                self._avoided.pop(peer, None)
                return self._note(stream)
        return self._note(await over_libp2p())

    async def prepare(self, peer: PeerId, *, bulk_bytes: int) -> None:
        """Has a connection ready where `open` would use or dial one.

        That none could be had is remembered for the next `prepare` only: the line may just have been busy, and a stream
        is worth a try of its own. Raises UnreachableError where the peer is not there.
        """
        avoided = (each.get(peer, _Avoided()) for each in (self._avoided, self._unprepared))
        is_avoided = any(self._clock.now() < each.until_s for each in avoided)
        if self._mode == "libp2p" or bulk_bytes < DIRECT_WORTH_BYTES or is_avoided:
            return
        try:
            await self._direct.prepare(peer)
        except NoDirectConnectionError:
            self._avoid(peer, self._unprepared)
        else:
            self._unprepared.pop(peer, None)

    def _avoid(self, peer: PeerId, avoided: Recent[PeerId, _Avoided]) -> None:
        pause_s = min(2 * avoided.get(peer, _Avoided()).pause_s, LONGEST_AVOIDED_S)
        avoided[peer] = _Avoided(self._clock.now() + pause_s, pause_s)

    def _note(self, stream: Stream) -> Stream:
        self.last_used[stream.remote] = stream.kind
        return stream
