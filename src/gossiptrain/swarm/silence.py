"""Which members of an exchange have fallen silent, and do not answer either.

Owns the watch over those from whom bytes are still to come. A link that is slow, or an owner that waits for somebody
else, answers a probe and goes on being waited for; one that is stopped, cut off or has started anew does not, and is
known to be gone long before its link times out. Does not know streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm import probing
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import Attempt
from gossiptrain.swarm.messages import Probe, RoundState
from gossiptrain.swarm.standing import Standing

LATE_SHARE = 1 / 50
"""Of `probe_timeout_s`: by how much this task may wake late while nothing else keeps this computer busy."""


class SilenceWatch:
    """Since when nothing was heard of each member from which something is still to come."""

    def __init__(self, admission: Admission, attempt: Attempt, expected: Mapping[PeerId, int]) -> None:
        """expected: how many streams of values are to come from each other member."""
        self._admission = admission
        self._clock = admission.transport.clock
        self._probe = Probe(round_id=attempt.round_id, attempt=attempt.number)
        self._expected = {peer: streams for peer, streams in expected.items() if streams}
        self._heard_s = dict.fromkeys(expected, self._clock.now())

    def heard(self, peer: PeerId) -> None:
        """Something came from the peer."""
        self._heard_s[peer] = self._clock.now()

    def complete(self, peer: PeerId) -> None:
        """One of the streams from the peer has brought all it had to."""
        self._expected[peer] -= 1
        if not self._expected[peer]:
            del self._expected[peer]

    async def gone(self, *, after_s: float) -> dict[PeerId, Standing]:
        """Waits until members are known to be gone: silent for so long, and then to a probe as well; says in which way.

        While this computer is too busy to wake this very task in time, silence says nothing about others, who may have
        to share it.
        """
        while True:
            in_time = await self._sleep(after_s / 4)
            now_s = self._clock.now()
            silent = [peer for peer in self._expected if now_s - self._heard_s[peer] >= after_s]
            if not silent:
                continue
            states = await asyncio.gather(*(probing.ask(self._admission, peer, self._probe) for peer in silent))
            in_time = in_time and self._clock.now() - now_s < self._admission.timing.probe_timeout_s + self._late_s
            found: dict[PeerId, Standing] = {}
            for peer, state in zip(silent, states, strict=True):
                standing = self._standing(peer, state, since_s=now_s, in_time=in_time)
                if standing is not None:
                    found[peer] = standing
            if found:
                return found

    async def _sleep(self, seconds: float) -> bool:
        """Whether it ended in time."""
        wakes_s = self._clock.now() + seconds
        await self._clock.sleep(seconds)
        return self._clock.now() - wakes_s < self._late_s

    @property
    def _late_s(self) -> float:
        return LATE_SHARE * self._admission.timing.probe_timeout_s

    def _standing(self, peer: PeerId, state: RoundState | None, *, since_s: float, in_time: bool) -> Standing | None:
        """None where it is not known to be gone."""
        if state in probing.NEVER_REPORTS:
            return Standing.ELSEWHERE
        if state is None:
            is_silent = in_time and peer in self._expected and self._heard_s[peer] <= since_s
            return Standing.SILENT if is_silent else None
        self.heard(peer)
        return None
