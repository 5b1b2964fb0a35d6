"""Telling the leader of a round how an attempt went, and hearing what it decides.

Owns one report to one leader: how long it is waited for, and which verdicts can be. Does not know who leads, nor how a
leader decides.
"""

from __future__ import annotations

from gossiptrain.net.framing import receive_one_of, send_message
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import Standing, Standings
from gossiptrain.swarm.leader import Verdict
from gossiptrain.swarm.messages import Abandon, Commit, Report, Retry, Waiting

REPORT = "/gossiptrain/report"
SILENT_PROBES = 1.5
"""A leader that has not decided says so twice in each `probe_timeout_s`; one that says nothing for so many is gone."""


class Reporting:
    """The reports of one member in one round."""

    def __init__(self, admission: Admission, standings: Standings) -> None:
        """standings: where it is noted of a leader that it answers and does not decide."""
        self._admission = admission
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._standings = standings

    async def report_to(self, leader: PeerId, report: Report, *, longest_s: float) -> Verdict | None:
        """Reports and waits for the verdict; None where the leader does not answer any more, or says what cannot be.

        longest_s: how long it may take to decide while it answers.
        """
        give_up_at_s = self._clock.now() + longest_s
        try:
            async with self._clock.timeout(self._timing.probe_timeout_s):
                stream = await self._admission.stream(leader, REPORT)
            try:
                await send_message(stream, report)
                while self._clock.now() < give_up_at_s:
                    async with self._clock.timeout(SILENT_PROBES * self._timing.probe_timeout_s):
                        answer = await receive_one_of(stream, Waiting, Commit, Retry, Abandon)
                    if isinstance(answer, Retry) and not self._is_sound(answer, report):
                        return None
                    if isinstance(answer, Commit) and not report.finished:
                        return Abandon(reason="the others committed without this peer")
                    if isinstance(answer, Commit | Retry | Abandon):
                        return answer
                self._standings.note([leader], Standing.HELD_UP)
            finally:
                stream.abort()
        except (ConnectionError, TimeoutError):
            pass
        return None

    def _is_sound(self, retry: Retry, report: Report) -> bool:
        return (
            retry.attempt == report.attempt + 1
            and self._admission.transport.peer_id in retry.members
            and len(set(retry.members)) == len(retry.members)
            and set(retry.members) <= set(report.members)
        )
