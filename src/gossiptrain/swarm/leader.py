"""What the leader of a round decides, and on what grounds.

Owns the members' reports on an attempt and the verdict that follows. All commit when everyone that still answers
holds the complete average over the agreed members, with one digest; otherwise the survivors try again with the
snapshots they still hold, or the round is given up. Should an earlier leader have died after some had committed, this
one finds that out before it decides, and lets the others, who are complete too, follow. Nobody is waited for beyond a
deadline, whatever it answers meanwhile. Does not know how an attempt is made.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from gossiptrain.core.averaging import relative_disagreement
from gossiptrain.core.grouping import survivors
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import Standing, Standings
from gossiptrain.swarm.messages import Abandon, Commit, Probe, Report, Retry, RoundState
from gossiptrain.swarm.silence import NEVER_REPORTS, ask_member

_logger = logging.getLogger(__package__)
MAX_ATTEMPTS = 16
PROBES_UNTIL_REPORT = 2
"""A member that was stopped, answers, and has not reported after so many times `probe_timeout_s` is not waited for. It
gives up a leader before this one within that time, where that one is gone."""

Verdict = Commit | Retry | Abandon


@dataclass(frozen=True)
class Deadlines:
    """ask_s: how long a member may be silent before it is asked. give_up_s: how long reports are waited for in all."""

    ask_s: float
    give_up_s: float


@dataclass
class _Inquiry:
    """What the leader has learnt of the members that have not reported."""

    asked_s: dict[PeerId, float] = field(default_factory=dict)
    stopped_s: dict[PeerId, float] = field(default_factory=dict)
    """When each of them was told for the first time to end the attempt."""
    committed: set[PeerId] = field(default_factory=set)


class Leader:
    """The leading part of one member; idle unless all members before it in the order are gone."""

    def __init__(self, admission: Admission, standings: Standings, *, minimum_members: int) -> None:
        """standings: who is gone for the round; what the leader finds out is added."""
        self._admission = admission
        self._standings = standings
        self._clock = admission.transport.clock
        self._minimum_members = minimum_members
        self._reports: dict[PeerId, Report] = {}
        self._reported = asyncio.Event()

    def take_report(self, peer: PeerId, report: Report) -> None:
        """Notes what a member reports."""
        self._reports[peer] = report
        self._reported.set()
        self._reported = asyncio.Event()

    async def decide(self, own: Report, deadlines: Deadlines) -> Verdict:
        """The verdict on the attempt that `own` is about, once all members have reported or are not waited for.

        While the attempt may still succeed a silent member is only asked whether it lives; after that it is stopped.
        """
        self.take_report(self._admission.transport.peer_id, own)
        inquiry = _Inquiry()
        give_up_at_s = self._clock.now() + deadlines.give_up_s
        while missing := self._missing(own, inquiry):
            if self._clock.now() >= give_up_at_s:
                self._standings.note(missing, Standing.HELD_UP)
                break
            in_trouble = bool(self._standings.gone) or not all(report.finished for report in self._on(own).values())
            due = self._due(missing, inquiry, ask_s=deadlines.ask_s, in_trouble=in_trouble)
            if due:
                await self._inquire(due, own, inquiry, stop=in_trouble)
            else:
                await self._wait_for_report(deadlines.ask_s / 4)
        verdict = self._judge(own, committed=bool(inquiry.committed))
        _log_verdict(verdict, own, self._on(own), self._standings.gone)
        return verdict

    def _on(self, own: Report) -> dict[PeerId, Report]:
        """The reports on exactly the attempt of the own one."""
        return {
            peer: report
            for peer, report in self._reports.items()
            if report.attempt == own.attempt and report.members == own.members
        }

    def _missing(self, own: Report, inquiry: _Inquiry) -> list[PeerId]:
        heard = self._on(own).keys() | self._standings.gone | inquiry.committed
        return [PeerId(peer) for peer in own.members if peer not in heard]

    def _due(self, missing: list[PeerId], inquiry: _Inquiry, *, ask_s: float, in_trouble: bool) -> list[PeerId]:
        """Who has to be asked now: everyone once in trouble, else who has been silent for a while."""
        now_s = self._clock.now()
        for peer in missing:
            inquiry.asked_s.setdefault(peer, now_s)
        return [
            peer
            for peer in missing
            if now_s - inquiry.asked_s[peer] >= ask_s or (in_trouble and peer not in inquiry.stopped_s)
        ]

    async def _inquire(self, due: list[PeerId], own: Report, inquiry: _Inquiry, *, stop: bool) -> None:
        probe = Probe(round_id=own.round_id, attempt=own.attempt, stop=stop)
        if stop:
            for peer in due:
                inquiry.stopped_s.setdefault(peer, self._clock.now())
        answers = await asyncio.gather(*(ask_member(self._admission, peer, probe) for peer in due))
        for peer, answer in zip(due, answers, strict=True):
            inquiry.asked_s[peer] = self._clock.now()
            self._note_answer(peer, answer, inquiry)

    def _note_answer(self, peer: PeerId, answer: RoundState | None, inquiry: _Inquiry) -> None:
        if answer is None or answer in NEVER_REPORTS:
            self._standings.note([peer], Standing.SILENT if answer is None else Standing.ELSEWHERE)
        elif answer == "committed":
            inquiry.committed.add(peer)
        elif self._clock.now() - inquiry.stopped_s.get(peer, math.inf) >= self._longest_report_s:
            # It answers but reports to another leader, and for this one it is gone.
            self._standings.note([peer], Standing.SILENT)

    @property
    def _longest_report_s(self) -> float:
        return PROBES_UNTIL_REPORT * self._admission.timing.probe_timeout_s

    async def _wait_for_report(self, longest_s: float) -> None:
        try:
            async with self._clock.timeout(longest_s):
                await self._reported.wait()
        except TimeoutError:
            return

    def _judge(self, own: Report, *, committed: bool) -> Verdict:
        reports = self._on(own)
        if committed or all(report.finished for report in reports.values()):
            if len({report.digest for report in reports.values() if report.finished}) > 1:
                return Abandon(reason="members received different averages")
            if not own.finished:
                return Abandon(reason="the others committed without this peer")
            silent, held_up = map(self._standings.those, (Standing.SILENT, Standing.HELD_UP))
            return Commit(
                disagreement=_disagreement(reports, members=len(own.members)),
                silent=tuple(sorted(silent)),
                held_up=tuple(sorted(held_up)),
            )
        following = self._following(own, reports)
        if len(following) < self._minimum_members:
            return Abandon(reason="too few members are left")
        if own.attempt + 1 >= MAX_ATTEMPTS:
            return Abandon(reason="too many attempts failed")
        return Retry(attempt=own.attempt + 1, members=following)

    def _following(self, own: Report, reports: dict[PeerId, Report]) -> tuple[str, ...]:
        """Who makes the next attempt."""
        complaints = {(peer, suspect) for peer, report in reports.items() for suspect in report.suspects}
        following = survivors(own.members, answered=set(reports), complaints=complaints)
        # Only a first attempt can be unreadable; so nobody can make the others repeat one again and again.
        unreadable = own.attempt == 0 and any(report.unreadable for report in reports.values())
        if following == own.members and not unreadable:
            # Everyone answers and nobody is to blame for sure: go on without the one most waited for.
            me = self._admission.transport.peer_id
            waits = {(peer, waited) for peer, report in reports.items() for waited in report.waited_for}
            blamed = Counter(waited for _, waited in unexplained(waits) if waited != me)
            if blamed:
                slowest = max(blamed, key=lambda peer: (blamed[peer], peer))
                following = tuple(peer for peer in following if peer != slowest)
        return following


def unexplained(waits: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of (who waited, for whom) the pairs that do not follow from others.

    A member that has trouble with one other ends its streams to all. So whoever waited in vain for a member that has
    itself waited for a third one has nothing to say about it. Where every wait follows from others, all count.
    """
    first = {
        (waiting, waited)
        for waiting, waited in waits
        if all(third == waiting for other, third in waits if other == waited)
    }
    return first or set(waits)


def _log_verdict(verdict: Verdict, own: Report, reports: dict[PeerId, Report], gone: Collection[PeerId]) -> None:
    """Why a round went as it did is known only here: who complained of whom, and who did not answer."""
    _logger.info(
        "round %s, attempt %d of %d members: %r; suspects %s, waited for %s, unreadable for %s, silent %s",
        own.round_id,
        own.attempt,
        len(own.members),
        verdict,
        {peer: report.suspects for peer, report in reports.items() if report.suspects},
        {peer: report.waited_for for peer, report in reports.items() if report.waited_for},
        [peer for peer, report in reports.items() if report.unreadable],
        sorted(gone),
    )


def _disagreement(reports: dict[PeerId, Report], *, members: int) -> float | None:
    """From the slices of those that reported, which is all of them unless somebody died at the very end."""
    finished = [report for report in reports.values() if report.finished]
    value = relative_disagreement(
        squared_distance=sum(report.squared_distance for report in finished),
        squared_mean=sum(report.squared_mean for report in finished),
        members=members,
    )
    return value if value < float("inf") else None
