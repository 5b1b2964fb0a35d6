"""The lanes of a node on which no stream is open.

Owns for how long they are kept, and how many of them. Does not know how lanes are made or served.
"""

from __future__ import annotations

import asyncio

from gossiptrain.net.lane import Lane
from gossiptrain.net.transport import PeerId

REST_S = 120.0
"""A lane that nobody has needed for so long is ended by the side that opens its streams."""
GRACE_S = 30.0
"""The other side waits for so much longer, so that it does not end a lane in the moment in which it is needed."""
MAX_ALIKE = 2
"""Most resting lanes to one peer and for one direction of opening; a round needs one."""
MAX_RESTING = 64
"""Most resting lanes for either direction of opening, so that strangers cannot crowd out the lanes that this node has
dialled. The one that has rested longest makes room."""


class RestingLanes:
    """Holds them between two streams, and ends those that break, grow old or are too many."""

    def __init__(self) -> None:
        self._expiries: dict[Lane, asyncio.TimerHandle] = {}
        """The one that has rested longest first."""
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._expiries)

    def keep(self, lane: Lane) -> None:
        """Owns `lane` until it is taken or released. One that is worn out is ended at once; after `close`, all are."""
        if self._is_closed or lane.is_worn_out:
            lane.end()
            return
        rest_s = REST_S if lane.opens else REST_S + GRACE_S
        self._expiries[lane] = asyncio.get_running_loop().call_later(rest_s, self._end, lane)
        lane.rest((lambda: self._end(lane)) if lane.opens else None)
        same_way = [other for other in self._expiries if other.opens == lane.opens]
        alike = [other for other in same_way if other.peer == lane.peer]
        for surplus in (*same_way[:-MAX_RESTING], *alike[:-MAX_ALIKE]):
            self._end(surplus)

    def take(self, peer: PeerId) -> Lane | None:
        """A lane to `peer` on which a stream can be opened now, the one that was used last; the caller owns it."""
        for lane in reversed(self._expiries):
            if lane.peer == peer and lane.opens and lane.is_free:
                self.release(lane)
                return lane
        return None

    def release(self, lane: Lane) -> None:
        """Gives `lane` out of its hands, where it is there."""
        expiry = self._expiries.pop(lane, None)
        if expiry is not None:
            expiry.cancel()
            lane.wake()

    def end_all(self, peer: PeerId) -> None:
        """Ends all lanes on which streams to `peer` would be opened."""
        for lane in tuple(self._expiries):
            if lane.peer == peer and lane.opens:
                self._end(lane)

    def close(self) -> None:
        """Ends all lanes and keeps no more. May be called twice."""
        self._is_closed = True
        for lane in tuple(self._expiries):
            self._end(lane)

    def _end(self, lane: Lane) -> None:
        self.release(lane)
        lane.end()
