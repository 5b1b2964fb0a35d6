"""A round from assignment to commit: all of a group take over the same average, or nothing changes.

Owns the attempts of one round and their verdicts. After each attempt every member reports to the leader, the first
of the members that answers. The leader has all commit when everyone that still answers holds the complete average
over the agreed members with the same digest; otherwise it has the survivors try again with the snapshots they still
hold, or gives up. A member that never hears a verdict leaves everything as it was. Should the leader die after some
have committed, the next one finds that out before it decides, and lets the others, who are complete too, follow.
Does not know how groups are found or what is done with the average.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace

from gossiptrain.core.averaging import relative_disagreement
from gossiptrain.core.grouping import survivors
from gossiptrain.net.framing import receive_message, receive_one_of, send_message
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.door import Door
from gossiptrain.swarm.exchange import Attempt, Buffers, Exchange, Outcome
from gossiptrain.swarm.messages import Abandon, Commit, Halt, Halted, Report, Retry, Waiting

REPORT = "/gossiptrain/report"
HALT = "/gossiptrain/halt"
MAX_ATTEMPTS = 16

Verdict = Commit | Retry | Abandon


@dataclass(frozen=True)
class RoundResult:
    """How a round ended. Only where `committed` is true does the buffer hold an average."""

    committed: bool
    members: tuple[PeerId, ...]
    attempts: int
    seconds: float
    bytes_sent: int
    disagreement: float | None = None
    digest: str = ""
    reason: str = ""


class Round:
    """One member's part in one round."""

    def __init__(self, door: Door, first: Attempt, buffers: Buffers, *, minimum_members: int) -> None:
        self._door = door
        self._clock = door.transport.clock
        self._timing = door.timing
        self._buffers = buffers
        self._minimum_members = minimum_members
        self._samples = dict(zip(first.members, first.samples, strict=True))
        self._bytes_sent = 0
        self._reports: dict[PeerId, Report] = {}
        self._changed = asyncio.Event()
        self.attempt = first
        self.exchange: Exchange | None = None
        self.verdicts: dict[int, Verdict] = {}
        """By number of the attempt."""
        self.gone: set[PeerId] = set()
        """Members that did not answer in this round."""

    @property
    def me(self) -> PeerId:
        """This peer."""
        return self._door.transport.peer_id

    @property
    def over(self) -> bool:
        """Whether the last verdict is known."""
        return isinstance(self.verdicts.get(self.attempt.number), Commit | Abandon)

    @property
    def members(self) -> frozenset[PeerId]:
        """All that the round began with; nobody else may speak in it."""
        return frozenset(self._samples)

    async def run(self) -> RoundResult:
        """Takes part until the round is decided; never longer than `round_timeout_s`."""
        started_s = self._clock.now()
        members, outcome = self.attempt.members, Outcome(finished=False)
        verdict: Verdict = _abandon("it took too long")
        try:
            async with self._clock.timeout(self._timing.round_timeout_s):
                while True:
                    outcome = await self._run_attempt()
                    members = self.attempt.members
                    verdict = await self._find_verdict(outcome)
                    self._settle(verdict)
                    if not isinstance(verdict, Retry):
                        break
                    self._begin(verdict)
        except TimeoutError:
            verdict = _abandon("it took too long")
            self._settle(verdict)
        committed = isinstance(verdict, Commit)
        return RoundResult(
            committed=committed,
            members=members,
            attempts=self.attempt.number + 1,
            seconds=self._clock.now() - started_s,
            bytes_sent=self._bytes_sent,
            disagreement=verdict.disagreement if isinstance(verdict, Commit) else None,
            digest=outcome.digest if committed else "",
            reason=verdict.reason if isinstance(verdict, Abandon) else "",
        )

    async def _run_attempt(self) -> Outcome:
        self.exchange = Exchange(self._door, self.attempt, self._buffers)
        self._wake()
        outcome = await self.exchange.run()
        self._bytes_sent += outcome.bytes_sent
        return outcome

    def _begin(self, retry: Retry) -> None:
        members = tuple(PeerId(member) for member in retry.members)
        samples = tuple(self._samples[member] for member in members)
        self.attempt = replace(self.attempt, number=retry.attempt, members=members, samples=samples)
        self._reports = {peer: report for peer, report in self._reports.items() if report.attempt >= retry.attempt}
        self._wake()

    def _settle(self, verdict: Verdict) -> None:
        self.verdicts[self.attempt.number] = verdict
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Returns when an attempt begins, a report comes in or a verdict is known."""
        await self._changed.wait()

    async def _find_verdict(self, outcome: Outcome) -> Verdict:
        """Asks the members in their order, leading when it is this peer's turn."""
        report = self._report(outcome)
        for leader in self.attempt.members:
            if leader == self.me:
                return await self._lead(report)
            verdict = await self._report_to(leader, report)
            if verdict is not None:
                return verdict
            self.gone.add(leader)
        raise AssertionError("this peer is a member of its own round")

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
        )

    async def _report_to(self, leader: PeerId, report: Report) -> Verdict | None:
        """Reports and waits for the verdict; None where the leader does not answer any more."""
        try:
            async with self._clock.timeout(self._timing.probe_timeout_s):
                stream = await self._door.stream(leader, REPORT)
                await send_message(stream, report)
            try:
                while True:
                    async with self._clock.timeout(2 * self._timing.probe_timeout_s):
                        answer = await receive_one_of(stream, Waiting, Commit, Retry, Abandon)
                    if isinstance(answer, Retry) and not self._is_sound(answer):
                        return None
                    if isinstance(answer, Commit) and not report.finished:
                        return _abandon("the others committed without this peer")
                    if isinstance(answer, Commit | Retry | Abandon):
                        return answer
            finally:
                stream.abort()
        except (ConnectionError, TimeoutError):
            return None

    def _is_sound(self, retry: Retry) -> bool:
        proposed = [PeerId(member) for member in retry.members]
        return (
            retry.attempt == self.attempt.number + 1
            and self.me in proposed
            and len(set(proposed)) == len(proposed)
            and set(proposed) <= set(self.attempt.members)
        )

    # What the leader does.

    def take_report(self, peer: PeerId, report: Report) -> None:
        """Notes a member's report, for the case that this peer leads."""
        self._reports[peer] = report
        self._wake()

    async def _lead(self, own: Report) -> Verdict:
        """Waits until all members have reported or do not answer any more, then decides.

        A silent member is only asked whether it lives while the attempt may still succeed, and stopped once it cannot.
        """
        self._reports[self.me] = own
        committed: set[PeerId] = set()
        asked_s: dict[PeerId, float] = {}
        stopped: Counter[PeerId] = Counter()
        while missing := self._missing(committed):
            in_trouble = bool(self.gone) or not all(report.finished for report in self._current_reports().values())
            patience_s = 0.0 if in_trouble else self._timing.stall_timeout_s
            now_s = self._clock.now()
            for peer in missing:
                asked_s.setdefault(peer, now_s - self._timing.stall_timeout_s + patience_s)
            due = [peer for peer in missing if now_s - asked_s[peer] >= self._timing.stall_timeout_s]
            due += [peer for peer in missing if in_trouble and not stopped[peer] and peer not in due]
            if not due:
                await self._wait_for_change(self._timing.stall_timeout_s / 4)
                continue
            asked_s.update(dict.fromkeys(due, now_s))
            answers = await asyncio.gather(*(self._halt(peer, stop=in_trouble) for peer in due))
            for peer, has_committed in zip(due, answers, strict=True):
                stopped[peer] += in_trouble
                if has_committed:
                    committed.add(peer)
                elif has_committed is None or stopped[peer] > 2:
                    # Silent, or it answers but reports elsewhere: for this leader it is gone.
                    self.gone.add(peer)
        return self._decide(committed)

    def _current_reports(self) -> dict[PeerId, Report]:
        """The reports on exactly this attempt."""
        return {
            peer: report
            for peer, report in self._reports.items()
            if report.attempt == self.attempt.number and report.members == self.attempt.members
        }

    def _missing(self, committed: set[PeerId]) -> list[PeerId]:
        heard = self._current_reports().keys() | self.gone | committed
        return [peer for peer in self.attempt.members if peer not in heard]

    async def _wait_for_change(self, longest_s: float) -> None:
        try:
            async with self._clock.timeout(longest_s):
                await self.changed()
        except TimeoutError:
            return

    async def _halt(self, peer: PeerId, *, stop: bool) -> bool | None:
        """Asks, and perhaps stops, a member: whether it has already committed, or None where it does not answer."""
        try:
            async with self._clock.timeout(self._timing.probe_timeout_s):
                stream = await self._door.stream(peer, HALT)
                try:
                    halt = Halt(round_id=self.attempt.round_id, attempt=self.attempt.number, stop=stop)
                    await send_message(stream, halt)
                    return (await receive_message(stream, Halted)).committed
                finally:
                    stream.abort()
        except (ConnectionError, TimeoutError):
            return None

    def _decide(self, committed: set[PeerId]) -> Verdict:
        reports = self._current_reports()
        if committed or all(report.finished for report in reports.values()):
            if len({report.digest for report in reports.values() if report.finished}) > 1:
                return _abandon("members received different averages")
            if not reports[self.me].finished:
                return _abandon("the others committed without this peer")
            return Commit(disagreement=self._disagreement(reports))
        following = self._survivors(reports)
        if self.me not in following or len(following) < self._minimum_members:
            return _abandon("too few members are left")
        if self.attempt.number + 1 >= MAX_ATTEMPTS:
            return _abandon("too many attempts failed")
        return Retry(attempt=self.attempt.number + 1, members=following)

    def _survivors(self, reports: dict[PeerId, Report]) -> tuple[str, ...]:
        complaints = {(peer, suspect) for peer, report in reports.items() for suspect in report.suspects}
        following = survivors(self.attempt.members, answered=set(reports), complaints=complaints)
        if following == self.attempt.members:
            # Everyone answers and nobody is to blame for sure: go on without the one most waited for.
            blamed = Counter(peer for report in reports.values() for peer in report.waited_for if peer != self.me)
            if blamed:
                slowest = max(blamed, key=lambda peer: (blamed[peer], peer))
                following = tuple(peer for peer in following if peer != slowest)
        return following

    def _disagreement(self, reports: dict[PeerId, Report]) -> float | None:
        """From the slices of those that reported, which is all of them unless somebody died at the very end."""
        finished = [report for report in reports.values() if report.finished]
        value = relative_disagreement(
            squared_distance=sum(report.squared_distance for report in finished),
            squared_mean=sum(report.squared_mean for report in finished),
            members=len(self.attempt.members),
        )
        return value if value < float("inf") else None

    def verdict_for(self, peer: PeerId, attempt: int) -> Verdict | None:
        """What a member that reported on an attempt is to do, as soon as it is known."""
        verdict = self.verdicts.get(attempt)
        if verdict is None and self.over:
            return _abandon("the round is over")
        if isinstance(verdict, Retry) and peer not in verdict.members:
            return _abandon("the others went on without this peer")
        return verdict


def _abandon(reason: str) -> Abandon:
    return Abandon(reason=reason)
