"""Whether members of a round still live: the question to one of them, and who of an exchange has fallen silent.

Owns that question with its one deadline, for everyone who has to know, a leader that misses a report too; and the watch
over those from whom bytes are still to come, or who have not yet taken what they are sent. A link that is slow, or an
owner that waits for somebody else, answers a probe and goes on being waited for; one that is stopped, cut off or has
started anew does not, and is known to be gone long before its link times out. Where the exchange fails meanwhile, those
that have been asked may still answer, since what follows depends on who lives. Does not know streams of values.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import Attempt, Standing
from gossiptrain.swarm.messages import Probe, ProbeReply, RoundState

PROBE = "/gossiptrain/probe"
NEVER_REPORTS: frozenset[RoundState] = frozenset({"unknown", "over"})
"""Answers of a member that takes no part any more: it has started anew, or has given the round up."""
LATE_SHARE = 1 / 50
"""Of `probe_timeout_s`: by how much this task may wake late while nothing else keeps this computer busy."""


async def ask_member(admission: Admission, peer: PeerId, probe: Probe) -> RoundState | None:
    """Where the peer stands in a round; None where it does not answer within `probe_timeout_s`."""
    try:
        async with admission.transport.clock.timeout(admission.timing.probe_timeout_s):
            stream = await admission.stream(peer, PROBE)
            try:
                await send_message(stream, probe)
                return (await receive_message(stream, ProbeReply)).state
            finally:
                stream.abort()
    except (ConnectionError, TimeoutError):
        return None


class SilenceWatch:
    """Since when nothing has moved between this peer and each member with which it has not done yet."""

    def __init__(self, admission: Admission, attempt: Attempt, expected: Mapping[PeerId, int]) -> None:
        """expected: how many times values are to pass all along a stream with each other member, either way."""
        self._admission = admission
        self._clock = admission.transport.clock
        self._probe = Probe(round_id=attempt.round_id, attempt=attempt.number)
        self._expected = {peer: streams for peer, streams in expected.items() if streams}
        self._heard_s = dict.fromkeys(expected, self._clock.now())
        self._asked_s = 0.0
        self._in_time = True
        self._asking: dict[PeerId, asyncio.Task[RoundState | None]] = {}

    def heard(self, peer: PeerId) -> None:
        """Something came from the peer, or it took something."""
        self._heard_s[peer] = self._clock.now()

    def complete(self, peer: PeerId) -> None:
        """A stream has carried all it had to in one direction."""
        self._expected[peer] -= 1
        if not self._expected[peer]:
            del self._expected[peer]

    async def gone(self, *, after_s: float) -> dict[PeerId, Standing]:
        """Waits until members are known to be gone: silent for so long, and then to a probe as well; says in which way.

        While this computer is too busy to wake this very task in time, silence says nothing about others, who may have
        to share it.
        """
        while True:
            self._in_time = await self._sleep(after_s / 4)
            now_s = self._clock.now()
            silent = [peer for peer in self._expected if now_s - self._heard_s[peer] >= after_s]
            if not silent:
                continue
            self._asked_s = now_s
            self._asking = {
                peer: asyncio.create_task(ask_member(self._admission, peer, self._probe)) for peer in silent
            }
            if found := await self.answers_to_come():
                return found

    async def answers_to_come(self) -> dict[PeerId, Standing]:
        """What follows from the questions that are still open, at most `probe_timeout_s` later."""
        if not self._asking:
            return {}
        await asyncio.wait(self._asking.values())  # which leaves them alone where this is cancelled
        asking, self._asking = self._asking, {}
        took_s = self._clock.now() - self._asked_s
        in_time = self._in_time and took_s < self._admission.timing.probe_timeout_s + self._late_s
        standings = {peer: self._standing(peer, task.result(), in_time=in_time) for peer, task in asking.items()}
        return {peer: standing for peer, standing in standings.items() if standing is not None}

    def close(self) -> None:
        """No answer matters any more."""
        for task in self._asking.values():
            task.cancel()

    async def _sleep(self, seconds: float) -> bool:
        """Whether it ended in time."""
        wakes_s = self._clock.now() + seconds
        await self._clock.sleep(seconds)
        return self._clock.now() - wakes_s < self._late_s

    @property
    def _late_s(self) -> float:
        return LATE_SHARE * self._admission.timing.probe_timeout_s

    def _standing(self, peer: PeerId, state: RoundState | None, *, in_time: bool) -> Standing | None:
        """None where it is not known to be gone."""
        if state in NEVER_REPORTS:
            return Standing.ELSEWHERE
        if state is None:
            is_silent = in_time and peer in self._expected and self._heard_s[peer] <= self._asked_s
            return Standing.SILENT if is_silent else None
        self.heard(peer)
        return None
