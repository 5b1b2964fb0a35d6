"""How this peer gets to know another one.

Owns the two steps of every acquaintance that this peer begins: reaching the other at one of its addresses, and the
handshake after which both know what the other knows of the swarm. Does not know why, nor when it is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence

from gossiptrain.net.transport import PeerId, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.membership import Membership


class Introduction:
    """Reaches others and shakes hands with them."""

    def __init__(self, admission: Admission, membership: Membership) -> None:
        self._admission = admission
        self._transport = admission.transport
        self._membership = membership

    async def reach(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Raises ConnectionError or TimeoutError where the peer answers at none of them within `dial_timeout_s`."""
        async with self._transport.clock.timeout(self._admission.timing.dial_timeout_s):
            await self._transport.reach(peer, addresses)

    async def meet(self, peer: PeerId) -> bool:
        """Shakes hands with a peer that can be reached, and exchanges heartbeats with it.

        False where it is a helper, and no member. Raises RunMismatchError, ConnectionError or TimeoutError as
        `Admission.handshake` does.
        """
        if not await self._admission.handshake(peer):
            return False
        if not await self._membership.meet(peer, within_s=self._admission.timing.dial_timeout_s):
            raise UnreachableError(f"{peer} has let this peer in and does not answer any more")
        return True
