"""Ways to those that this peer is about to meet, made before they are needed.

Owns when that is, and for whom: shortly before a round, where everybody that trains fits into one group, so that the
members are known. A round then begins with bytes instead of handshakes. Does not know what ways there are, nor who is
in a group in the end.
"""

from __future__ import annotations

import asyncio

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.coding import ELEMENT_BYTES
from gossiptrain.swarm.membership import Membership


class Readying:
    """Prepares this peer's streams."""

    def __init__(self, admission: Admission, membership: Membership, *, largest_group: int) -> None:
        self._admission = admission
        self._clock = admission.transport.clock
        self._membership = membership
        self._largest_group = largest_group

    async def run(self) -> None:
        """Looks once in each period who will be met, until cancelled."""
        while True:
            await self._clock.sleep(self._admission.timing.heartbeat_s)
            await self.prepare()

    async def prepare(self) -> None:
        """Makes the ways to all that will be met; some may not be there, or not in time."""
        others = self._to_be_met()
        bulk_bytes = 2 * ELEMENT_BYTES * self._admission.fingerprint.elements // (len(others) + 1)
        await asyncio.gather(*(self._prepare(peer, bulk_bytes=bulk_bytes) for peer in others))

    def _to_be_met(self) -> list[PeerId]:
        ready_in_s = self._membership.own.ready_in_s
        trainers = self._membership.trainers()
        is_near = ready_in_s is not None and ready_in_s <= self._admission.timing.lifetime_s
        if not is_near or len(trainers) > self._largest_group or self._membership.me not in trainers:
            return []
        return sorted(trainers - {self._membership.me})

    async def _prepare(self, peer: PeerId, *, bulk_bytes: int) -> None:
        try:
            async with self._clock.timeout(self._admission.timing.dial_timeout_s):
                await self._admission.prepare(peer, bulk_bytes=bulk_bytes)
        except (ConnectionError, TimeoutError):
            return  # the round finds out
