"""The direct connections of a node on which no stream is open.

Owns for how long they are kept, and how many of them. Does not know how connections are made or served.
"""

from __future__ import annotations

import asyncio

from gossiptrain.net.direct.connection import DirectConnection
from gossiptrain.net.transport import PeerId

IDLE_S = 120.0
"""A connection that nobody has needed for so long is ended by the side that opens its streams."""
GRACE_S = 30.0
"""The other side waits for so much longer, so that it does not end a connection in the moment in which it is needed."""
MAX_ALIKE = 2
"""Most idle connections to one peer and for one direction of opening; a round needs one."""
MAX_IDLE = 64
"""Most idle connections for either direction of opening, so that strangers cannot crowd out the connections that this
node has dialled. The one that has been idle longest makes room."""


class IdlePool:
    """Holds them between two streams, and ends those that break, grow old or are too many."""

    def __init__(self) -> None:
        self._expiries: dict[DirectConnection, asyncio.TimerHandle] = {}
        """The one that has been idle longest first."""
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._expiries)

    def keep(self, connection: DirectConnection) -> None:
        """Owns `connection` until it is taken or released. One whose key limit is reached is ended at once; after
        `close`, all are."""
        if self._is_closed or connection.key_limit_reached:
            connection.end()
            return
        idle_s = IDLE_S if connection.opens else IDLE_S + GRACE_S
        self._expiries[connection] = asyncio.get_running_loop().call_later(idle_s, self._end, connection)
        connection.set_idle((lambda: self._end(connection)) if connection.opens else None)
        same_way = [other for other in self._expiries if other.opens == connection.opens]
        alike = [other for other in same_way if other.peer == connection.peer]
        for surplus in (*same_way[:-MAX_IDLE], *alike[:-MAX_ALIKE]):
            self._end(surplus)

    def take(self, peer: PeerId) -> DirectConnection | None:
        """A connection to `peer` on which a stream can be opened now, the one that was used last; the caller owns
        it."""
        for connection in reversed(self._expiries):
            if connection.peer == peer and connection.opens and connection.is_free:
                self.release(connection)
                return connection
        return None

    def holds_one_to(self, peer: PeerId) -> bool:
        """Whether there is a connection on which streams to `peer` can be opened, now or in a moment."""
        return any(connection.peer == peer and connection.opens for connection in self._expiries)

    def release(self, connection: DirectConnection) -> None:
        """Gives `connection` out of its hands, where it is there."""
        expiry = self._expiries.pop(connection, None)
        if expiry is not None:
            expiry.cancel()
            connection.set_active()

    def end_all(self, peer: PeerId) -> None:
        """Ends all connections on which streams to `peer` would be opened."""
        for connection in tuple(self._expiries):
            if connection.peer == peer and connection.opens:
                self._end(connection)

    def close(self) -> None:
        """Ends all connections and keeps no more. May be called twice."""
        self._is_closed = True
        for connection in tuple(self._expiries):
            self._end(connection)

    def _end(self, connection: DirectConnection) -> None:
        self.release(connection)
        connection.end()
