"""Lanes: direct, mutually authenticated, encrypted connections for bulk bytes between two nodes.

Owns the streams over lanes, those that this node opens and those that others open here: a lane is had when it is first
needed, and kept after a stream for the next one to the same peer. Does not know what travels in a lane, how two nodes
come to one, nor what is done where none can be had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gossiptrain.net.framing import ProtocolViolationError, opened
from gossiptrain.net.handlers import HandlerTasks, StreamLimits, answer
from gossiptrain.net.lane import Lane
from gossiptrain.net.lane_agreement import LaneAgreement
from gossiptrain.net.lane_door import HANDSHAKE_S
from gossiptrain.net.lane_words import NoLaneError
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.resting_lanes import RestingLanes
from gossiptrain.net.transport import (
    PeerId,
    Stream,
    StreamClosedError,
    StreamHandler,
    Transport,
    UnreachableError,
)

LANE = "/gossiptrain/lane"
LANE_WORTH_BYTES = 16 << 10
"""For fewer bytes than this no lane is dialled; one that is there is used. Once there, it is faster for any number of
bytes, and it has paid for its handshakes after two or three rounds."""
ANSWER_S = 1.0
"""A kept lane that does not answer for so long is taken for dead, and another one is dialled."""


class Lanes:
    """The lanes of one node: it opens streams over them, and answers those of others."""

    def __init__(
        self,
        transport: Transport,
        *,
        handler_of: Callable[[str], StreamHandler | None],
        host_of: Callable[[Stream], IpAddress | None],
        limits: StreamLimits,
    ) -> None:
        """handler_of: who answers the streams of a protocol. host_of: where the other end of a libp2p stream is.

        limits: of all streams that others open at this node, over lanes or not.
        """
        self._transport = transport
        self._handler_of = handler_of
        self._limits = limits
        self._tasks = HandlerTasks()
        self._streams: dict[Stream, None] = {}
        self._resting = RestingLanes()
        self._agreement = LaneAgreement(transport, self._tasks, host_of=host_of, on_lane=self._serve_later)

    async def open_for_others(self, hosts: Sequence[IpAddress], port: int) -> None:
        """Listens at `hosts` and from now on offers lanes to whoever asks, or refuses where there are no hosts.

        port 0: any free one. Raises OSError.
        """
        self._agreement.listen(hosts, port)
        await self._transport.serve(LANE, self._agreement.offer)

    async def open_kept(self, peer: PeerId, protocol: str) -> Stream | None:
        """Opens a stream over a lane that is there; None where none is, or none that still works.

        Raises UnreachableError where `peer` does not serve `protocol`.
        """
        lane = self._resting.take(peer)
        if lane is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._begin(lane, protocol)
        except UnreachableError:
            raise
        except (ConnectionError, TimeoutError):
            self._resting.end_all(peer)  # whatever has broken this one has as a rule broken all
            return None

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream over a new lane. Raises NoLaneError; UnreachableError where `peer` is not there."""
        try:
            async with opened(self._transport, peer, protocol=LANE) as stream:
                lane = await self._agreement.agree(stream)
        except (StreamClosedError, ProtocolViolationError) as error:
            raise UnreachableError(str(error)) from error
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                return await self._begin(lane, protocol)
        except UnreachableError:
            raise
        except (ConnectionError, TimeoutError) as error:
            raise NoLaneError(f"the other side did not take the lane: {str(error) or 'no answer in time'}") from error

    async def close(self) -> None:
        """Ends all lanes and takes no more."""
        self._agreement.close()
        self._resting.close()
        for stream in tuple(self._streams):
            stream.abort()
        await self._tasks.close()

    async def _begin(self, lane: Lane, protocol: str) -> Stream:
        try:
            stream = await lane.begin(protocol, self._streams, on_close=lambda: self._resting.keep(lane))
        except BaseException:
            lane.end()
            raise
        if stream is None:
            self._resting.keep(lane)
            raise UnreachableError(f"the peer {lane.peer} does not speak {protocol}")
        stream.protocol = protocol
        return stream

    def _serve_later(self, lane: Lane) -> None:
        self._tasks.start(self._serve(lane), name="handler of a lane", release=lambda: self._leave(lane))

    async def _serve(self, lane: Lane) -> None:
        """Answers the streams on a lane, one after the other, until either side ends it."""
        while True:
            self._resting.keep(lane)
            protocol = await lane.requested()
            self._resting.release(lane)
            handler = self._handler_of(protocol)
            if handler is None:
                await lane.refuse()
            else:
                stream = await lane.accept(self._streams)
                stream.protocol = protocol
                await answer(handler, stream, self._limits)

    def _leave(self, lane: Lane) -> None:
        self._resting.release(lane)
        lane.end()
