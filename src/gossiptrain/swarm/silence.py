"""Which members of an exchange have fallen silent, and do not answer either.

Owns the watch over those from whom bytes are still to come. A link that is slow, or an owner that waits for somebody
else, answers a probe and goes on being waited for; one that is stopped, cut off or has started anew does not, and is
known to be gone long before patience with its link ends. Does not know streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm import probing
from gossiptrain.swarm.attempt import Attempt
from gossiptrain.swarm.door import Door
from gossiptrain.swarm.messages import Probe


class SilenceWatch:
    """Since when nothing was heard of each member from which something is still to come."""

    def __init__(self, door: Door, attempt: Attempt, expected: Mapping[PeerId, int]) -> None:
        """expected: how many streams of values are to come from each other member."""
        self._door = door
        self._clock = door.transport.clock
        self._probe = Probe(round_id=attempt.round_id, attempt=attempt.number)
        self._expected = {peer: streams for peer, streams in expected.items() if streams}
        self._heard_s = dict.fromkeys(expected, self._clock.now())
        self.elsewhere: set[PeerId] = set()
        """Members that live, but take no part in this round any more."""

    def heard(self, peer: PeerId) -> None:
        """Something came from the peer."""
        self._heard_s[peer] = self._clock.now()

    def complete(self, peer: PeerId) -> None:
        """One of the streams from the peer has brought all it had to."""
        self._expected[peer] -= 1
        if not self._expected[peer]:
            del self._expected[peer]

    async def gone(self, *, after_s: float) -> tuple[PeerId, ...]:
        """Waits until members are known to be gone: silent for so long, and then to a probe as well."""
        while True:
            await self._clock.sleep(after_s / 2)
            now_s = self._clock.now()
            silent = [peer for peer in self._expected if now_s - self._heard_s[peer] >= after_s]
            found = [peer for peer, gone in zip(silent, await self._ask_all(silent, now_s), strict=True) if gone]
            if found:
                return tuple(found)

    async def _ask_all(self, peers: list[PeerId], asked_at_s: float) -> list[bool]:
        return await asyncio.gather(*(self._is_gone(peer, asked_at_s) for peer in peers))

    async def _is_gone(self, peer: PeerId, asked_at_s: float) -> bool:
        state = await probing.ask(self._door, peer, self._probe)
        if state in probing.NEVER_REPORTS:
            self.elsewhere.add(peer)
            return True
        if state is None and self._heard_s[peer] <= asked_at_s:
            return peer in self._expected
        self.heard(peer)
        return False
