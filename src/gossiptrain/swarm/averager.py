"""Serves the rounds of a peer: its own, and its share of those of others.

Owns the round that is under way and what is kept of the last ones, so that streams, reports and questions find the
round they belong to, also when they come a little before it or after it. One round at a time is this peer's own; of
those that are over, only what was decided stays.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.attempt import Attempt
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.contribution import EXCHANGE
from gossiptrain.swarm.exchange_context import LinkStatistics
from gossiptrain.swarm.messages import Assignment, ExchangeHeader, Probe, ProbeReply, Report, Waiting
from gossiptrain.swarm.near_coding import SpreadEstimate
from gossiptrain.swarm.own_line import OwnLine
from gossiptrain.swarm.reporting import REPORT
from gossiptrain.swarm.round import FinishedRound, Round, RoundResult
from gossiptrain.swarm.silence import PROBE
from gossiptrain.swarm.speeds import SpeedsSeen
from gossiptrain.swarm.timeouts import SHARE_OF_FIRST_EXCHANGE, AdaptiveTimeout, longest_round_s

REMEMBERED_ROUNDS = 16


@dataclass(frozen=True)
class RoundRules:
    """What all members of a run do alike. weighs_members: by their samples; otherwise all weigh the same."""

    minimum_members: int
    weighs_members: bool = True


@dataclass(frozen=True)
class Part:
    """A round, or of one that carries several fragments the part with one of them.

    round_id: its own name. members: those of the group that take part.
    """

    round_id: str
    fragment: int
    members: tuple[PeerId, ...]


class Averager:
    """Runs this peer's rounds and answers for them."""

    def __init__(self, admission: Admission, rules: RoundRules) -> None:
        self._admission = admission
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._rules = rules
        self._longest_s = longest_round_s(admission.timing, elements=admission.fingerprint.elements)
        self._adaptive_timeout = AdaptiveTimeout(
            admission.timing.stall_timeout_s, longest_exchange_s=self._longest_s * SHARE_OF_FIRST_EXCHANGE
        )
        self._own_line = OwnLine()
        self._speeds = SpeedsSeen()
        self._statistics: dict[int, LinkStatistics] = {}
        """By fragment, all with the same timeout, line and speeds."""
        self._rounds: OrderedDict[str, Round | FinishedRound] = OrderedDict()
        self._arrived = asyncio.Event()
        self._reporting: set[Stream] = set()
        self._all_told = asyncio.Event()
        self._all_told.set()

    async def open(self) -> None:
        """From now on answers other members."""
        await self._admission.serve(EXCHANGE, self._serve_exchange)
        await self._admission.serve(REPORT, self._serve_report)
        await self._admission.serve(PROBE, self._serve_probe)

    async def average(self, assignment: Assignment, buffers: Buffers, *, part: Part) -> RoundResult:
        """Takes part in a round with the snapshot in `buffers`; where it commits, the average is in `buffers`."""
        attempt = Attempt(
            round_id=part.round_id,
            number=0,
            members=tuple(PeerId(member) for member in assignment.members),
            samples=assignment.samples if self._rules.weighs_members else (1,) * len(assignment.members),
            speeds=assignment.speeds,
            codec=assignment.codec,
        ).among(part.members, number=0)
        current = Round(
            self._admission,
            attempt,
            buffers,
            minimum_members=self._rules.minimum_members,
            statistics=self._statistics_of(part.fragment, elements=len(buffers.snapshot)),
            longest_s=self._longest_s,
        )
        self._rounds[attempt.round_id] = current
        while len(self._rounds) > REMEMBERED_ROUNDS:
            self._rounds.popitem(last=False)
        self._arrived.set()
        self._arrived = asyncio.Event()
        try:
            return await current.run()
        finally:
            self._rounds[attempt.round_id] = current.finished()

    @property
    def speeds_seen(self) -> dict[PeerId, float]:
        """How fast the links of others were in the last rounds, relative to the fastest."""
        return self._speeds.relative()

    def _statistics_of(self, fragment: int, *, elements: int) -> LinkStatistics:
        if fragment not in self._statistics:
            spread = SpreadEstimate(elements)
            self._statistics[fragment] = LinkStatistics(self._adaptive_timeout, self._own_line, self._speeds, spread)
        return self._statistics[fragment]

    async def _round(self, round_id: str, peer: PeerId, *, within_s: float) -> Round | FinishedRound | None:
        """The round of that id in which `peer` may speak; waits for it a little, since others may be ahead."""
        try:
            async with self._clock.timeout(within_s):
                while round_id not in self._rounds:
                    await self._arrived.wait()
        except TimeoutError:
            return None
        found = self._rounds[round_id]
        return found if peer in found.members else None

    async def _serve_exchange(self, stream: Stream) -> None:
        async with self._clock.timeout(self._timing.dial_timeout_s):
            header = await receive_message(stream, ExchangeHeader)
        current = await self._round(header.round_id, stream.remote, within_s=self._timing.dial_timeout_s)
        if not isinstance(current, Round):
            stream.abort()
            return
        async with self._clock.timeout(self._longest_s):
            while not current.over and (current.attempt.number < header.attempt or current.exchange is None):
                await current.changed()
        exchange = current.exchange
        if exchange is None or exchange.attempt.number != header.attempt or not exchange.accept(stream):
            stream.abort()
            return
        await exchange.over.wait()

    async def settle(self) -> None:
        """Until all verdicts that members wait for have been given out, and no longer than `probe_timeout_s`."""
        try:
            async with self._clock.timeout(self._timing.probe_timeout_s):
                await self._all_told.wait()
        except TimeoutError:
            return

    async def _serve_report(self, stream: Stream) -> None:
        self._reporting.add(stream)
        self._all_told.clear()
        try:
            await self._answer_report(stream)
        finally:
            self._reporting.discard(stream)
            if not self._reporting:
                self._all_told.set()

    async def _answer_report(self, stream: Stream) -> None:
        async with self._clock.timeout(self._timing.dial_timeout_s):
            report = await receive_message(stream, Report)
        current = await self._round(report.round_id, stream.remote, within_s=self._timing.probe_timeout_s / 2)
        if current is None:
            # This peer has started anew. It has no verdict to give; the next of the members leads.
            stream.abort()
            return
        if isinstance(current, FinishedRound):
            await send_message(stream, current.verdict_for(stream.remote, report.attempt))
            return
        current.leader.take_report(stream.remote, report)
        while (verdict := current.verdict_for(stream.remote, report.attempt)) is None:
            try:
                async with self._clock.timeout(self._timing.probe_timeout_s / 2):
                    await current.changed()
            except TimeoutError:
                await send_message(stream, Waiting())
        await send_message(stream, verdict)

    async def _serve_probe(self, stream: Stream) -> None:
        async with self._clock.timeout(self._timing.dial_timeout_s):
            probe = await receive_message(stream, Probe)
        current = await self._round(probe.round_id, stream.remote, within_s=self._timing.probe_timeout_s / 4)
        if current is None:
            await send_message(stream, ProbeReply(state="unknown"))
            return
        if probe.stop and isinstance(current, Round):
            current.stop(probe.attempt)
        await send_message(stream, ProbeReply(state=current.state_of(probe.attempt)))
