"""A round from assignment to commit: all of a group take over the same average, or nothing changes.

Owns the course of one round for one member: an attempt, a report to the leader, its verdict, and again. The leader
is the first of the members that answers, so a member that reaches nobody leads itself. A leader that answers and never
decides is given up like a silent one, after a few times what a link may stand still. How one is told is in `reporting`,
what it decides, and why, in `leader`; how groups are found and what is done with the average is not known here.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from gossiptrain.net.framing import Message
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import Attempt, Outcome, Standing, Standings
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.exchange import Exchange
from gossiptrain.swarm.exchange_context import LinkStatistics
from gossiptrain.swarm.leader import Deadlines, Leader, Verdict
from gossiptrain.swarm.messages import Abandon, Commit, Report, Retry, RoundState
from gossiptrain.swarm.reporting import Reporting

_logger = logging.getLogger(__package__)


class RoundResult(Message):
    """How a round ended. Only where `committed` is true does the buffer hold an average."""

    committed: bool
    members: tuple[PeerId, ...]
    attempts: int
    seconds: float
    bytes_sent: int
    disagreement: float | None = None
    digest: str = ""
    reason: str = ""
    silent: frozenset[PeerId] = frozenset()
    """Members that did not answer any more."""
    held_up: frozenset[PeerId] = frozenset()
    """Members that answered, but were waited for in vain."""

    @classmethod
    def abandoned(cls, members: tuple[PeerId, ...], reason: str) -> RoundResult:
        """Of a round in which this peer has not even begun."""
        return cls(committed=False, members=members, attempts=0, seconds=0.0, bytes_sent=0, reason=reason)


@dataclass(frozen=True)
class FinishedRound:
    """What late questions need of a round that is over: who may ask, and what was decided on each attempt."""

    members: frozenset[PeerId]
    verdicts: dict[int, Verdict]

    def verdict_for(self, peer: PeerId, attempt: int) -> Verdict:
        """What a member that reports only now is to do."""
        return _verdict_for(peer, self.verdicts.get(attempt)) or _abandon("the round is over")

    def state_of(self, attempt: int) -> RoundState:
        """Where this peer stands in that attempt."""
        return "committed" if isinstance(self.verdicts.get(attempt), Commit) else "over"


class Round:
    """One member's part in one round."""

    def __init__(
        self,
        admission: Admission,
        first: Attempt,
        buffers: Buffers,
        *,
        minimum_members: int,
        statistics: LinkStatistics,
        longest_s: float,
    ) -> None:
        """longest_s: how long it may take, repetitions included."""
        self._admission = admission
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._buffers = buffers
        self._first = first
        self._bytes_sent = 0
        self._attempt_s = 0.0
        """How long the last attempt took."""
        self._statistics = statistics
        self._longest_s = longest_s
        self._standings = Standings()
        self._reporting = Reporting(admission, self._standings)
        self.leader = Leader(admission, self._standings, minimum_members=minimum_members)
        """Takes the members' reports, for the case that this peer leads."""
        self._changed = asyncio.Event()
        self.attempt = first
        self.exchange: Exchange | None = None
        self.verdicts: dict[int, Verdict] = {}
        """By number of the attempt."""
        self.over = False
        """Whether the last verdict for this peer is known."""

    @property
    def me(self) -> PeerId:
        """This peer."""
        return self._admission.transport.peer_id

    @property
    def members(self) -> frozenset[PeerId]:
        """All that the round began with; nobody else may speak in it."""
        return frozenset(self._first.members)

    async def run(self) -> RoundResult:
        """Takes part until the round is decided; never longer than it may."""
        started_s = self._clock.now()
        outcome = Outcome(finished=False)
        verdict: Verdict = _abandon("it took too long")
        try:
            async with self._clock.timeout(self._longest_s):
                while True:
                    outcome = await self._run_attempt()
                    verdict = await self._find_verdict(outcome)
                    self.verdicts[self.attempt.number] = verdict
                    _logger.debug("round %s, attempt %d: %r", self.attempt.round_id, self.attempt.number, verdict)
                    if isinstance(verdict, Retry) and self.me not in verdict.members:
                        verdict = _abandon("the others go on without this peer")
                    if not isinstance(verdict, Retry):
                        break
                    self._begin(verdict)
        except TimeoutError:
            verdict = _abandon("it took too long")
        finally:
            self.over = True
            self.exchange = None
            self._wake()
        return self._result(verdict, outcome, seconds=self._clock.now() - started_s)

    def finished(self) -> FinishedRound:
        """What is kept of the round."""
        return FinishedRound(self.members, self.verdicts)

    def _result(self, verdict: Verdict, outcome: Outcome, *, seconds: float) -> RoundResult:
        committed = isinstance(verdict, Commit)
        silent, held_up = self._standings.those(Standing.SILENT), self._standings.those(Standing.HELD_UP)
        if isinstance(verdict, Commit):
            silent |= self.members & {PeerId(peer) for peer in verdict.silent}
            held_up |= self.members & {PeerId(peer) for peer in verdict.held_up}
        return RoundResult(
            committed=committed,
            members=self.attempt.members,
            attempts=self.attempt.number + 1,
            seconds=seconds,
            bytes_sent=self._bytes_sent,
            disagreement=verdict.disagreement if isinstance(verdict, Commit) else None,
            digest=outcome.digest if committed else "",
            reason=verdict.reason if isinstance(verdict, Abandon) else "",
            silent=silent - held_up - {self.me},
            held_up=held_up - {self.me},
        )

    async def _run_attempt(self) -> Outcome:
        self.exchange = Exchange(self._admission, self.attempt, self._buffers, statistics=self._statistics)
        self._wake()
        started_s = self._clock.now()
        outcome = await self.exchange.run()
        self._attempt_s = self._clock.now() - started_s
        self._bytes_sent += outcome.bytes_sent
        self._standings.update(outcome.gone)
        return outcome

    def _begin(self, retry: Retry) -> None:
        members = tuple(PeerId(member) for member in retry.members)
        self.attempt = self._first.among(members, number=retry.attempt)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Returns when an attempt begins or a verdict is known."""
        await self._changed.wait()

    async def _find_verdict(self, outcome: Outcome) -> Verdict:
        """Asks the members in their order, leading when it is this peer's turn."""
        report = self._report(outcome)
        for member in self.attempt.members:
            if member == self.me:
                return await self.leader.decide(report, self._deadlines)
            if member in self._standings.gone:
                continue
            verdict = await self._reporting.report_to(member, report, longest_s=self._longest_decision_s)
            if verdict is not None:
                return verdict
            self._standings.note([member], Standing.SILENT)
        raise AssertionError("this peer is a member of its own round")

    @property
    def _deadlines(self) -> Deadlines:
        """Of this peer as leader. Others' exchanges end about when the own one does; they may notice later than this
        peer that a leader before it is gone."""
        stall_s = self._statistics.adaptive_timeout.stall_s
        return Deadlines(ask_s=stall_s / 2, give_up_s=2 * (stall_s + self._timing.probe_timeout_s) + self._attempt_s)

    @property
    def _longest_decision_s(self) -> float:
        """How long another leader may take: twice as long as this peer would wait, and with the timeout of one that
        has not learnt yet."""
        stall_s = max(self._statistics.adaptive_timeout.stall_s, self._timing.stall_timeout_s)
        return 2 * (2 * (stall_s + self._timing.probe_timeout_s) + self._attempt_s)

    def _report(self, outcome: Outcome) -> Report:
        return Report(
            round_id=self.attempt.round_id,
            attempt=self.attempt.number,
            members=self.attempt.members,
            finished=outcome.finished,
            digest=outcome.digest,
            squared_distance=outcome.squared_distance,
            squared_mean=outcome.squared_mean,
            suspects=outcome.suspects,
            waited_for=outcome.waited_for,
            unreadable=outcome.unreadable,
        )

    def verdict_for(self, peer: PeerId, attempt: int) -> Verdict | None:
        """What a member that reported on an attempt is to do, as soon as it is known."""
        if self.over:
            return self.finished().verdict_for(peer, attempt)
        return _verdict_for(peer, self.verdicts.get(attempt))

    def state_of(self, attempt: int) -> RoundState:
        """Where this peer stands in that attempt."""
        if self.over or attempt in self.verdicts or attempt < self.attempt.number:
            return self.finished().state_of(attempt)
        waits = attempt == self.attempt.number and self.exchange is not None and self.exchange.over.is_set()
        return "reported" if waits else "running"

    def stop(self, attempt: int) -> None:
        """The leader has ended that attempt."""
        if self.exchange is not None and self.attempt.number == attempt:
            self.exchange.halt()


def _verdict_for(peer: PeerId, verdict: Verdict | None) -> Verdict | None:
    if isinstance(verdict, Retry) and peer not in verdict.members:
        return _abandon("the others went on without this peer")
    return verdict


def _abandon(reason: str) -> Abandon:
    return Abandon(reason=reason)
