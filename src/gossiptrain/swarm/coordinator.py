"""The coordinator of a round: it collects the peers that are ready and divides them into groups.

Owns the pending rounds of this peer, whom it still waits for, and the groups that it forms. Who said it was ready and
does not come is asked for its view, so that two coordinators of one round, where peers see different members, soon
become one; and is waited for a little, once. A coordinator that meets a peer of higher rank redirects the ready peers
to it. Does not know how a peer finds its coordinator, nor what a group does with itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gossiptrain.config import GossipSettings
from gossiptrain.core.grouping import GroupLimits, coordinators, form_groups, limits_for
from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.membership import Membership, Outlook
from gossiptrain.swarm.messages import (
    MAX_MEMBERS,
    Assignment,
    NoGroup,
    Ready,
    Redirect,
    StaleRound,
    Waiting,
    Withdraw,
)
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.speeds import agreed_speeds

_logger = logging.getLogger(__package__)
READY = "/gossiptrain/ready"

ValueT = TypeVar("ValueT", bound=str)

Answer = Assignment | NoGroup | StaleRound | Redirect


@dataclass
class _ReadyPeer:
    ready: Ready
    leaves_at: float
    """When its patience for stragglers is over."""
    answer: asyncio.Future[Answer]


@dataclass
class _PendingRound:
    """The ready peers of one round, at its coordinator."""

    round: int
    ready_peers: dict[PeerId, _ReadyPeer] = field(default_factory=dict)
    due_s: dict[PeerId, float] = field(default_factory=dict)
    """Since when peers that are not here should be, by what they said."""
    meetings: dict[PeerId, asyncio.Task[None]] = field(default_factory=dict)
    """Peers that were asked why they do not come."""
    missed: set[PeerId] = field(default_factory=set)
    """Who is not waited for any more."""
    silent: set[PeerId] = field(default_factory=set)
    """Those of them that did not answer either."""

    @property
    def deadline(self) -> float:
        """When the first of them will not wait any longer."""
        return min(ready_peer.leaves_at for ready_peer in self.ready_peers.values())

    @property
    def ends(self) -> bool:
        """Whether somebody is here that has made its last step."""
        return any(ready_peer.ready.purpose == "end" for ready_peer in self.ready_peers.values())

    @property
    def merges(self) -> bool:
        """Whether somebody is here that wants everyone."""
        return any(ready_peer.ready.purpose != "round" for ready_peer in self.ready_peers.values())

    def close(self) -> None:
        """Nobody is waited for any more."""
        for meeting in self.meetings.values():
            meeting.cancel()


class Coordinator:
    """Forms groups for all peers that ask this one."""

    def __init__(
        self,
        admission: Admission,
        membership: Membership,
        *,
        settings: GossipSettings,
        rng: random.Random,
        promises: Promises,
    ) -> None:
        self._admission = admission
        self._clock = admission.transport.clock
        self._membership = membership
        self._settings = settings
        self._limits = GroupLimits(settings.gossip_min_group_size, settings.gossip_group_size)
        self._rng = rng
        self._promises = promises
        self._pending: dict[int, _PendingRound] = {}

    async def open(self) -> None:
        """From now on coordinates when asked."""
        await self._admission.serve(READY, self._serve)

    def first_in_rank(self, round_number: int) -> PeerId:
        """Who coordinates a round, as far as this peer can see."""
        return self.ranked(self._membership.trainers(), round_number)[0]

    def ranked(self, peers: Collection[PeerId], round_number: int) -> list[PeerId]:
        """In the order in which they coordinate a round, one in place of the other."""
        run, seed = self._admission.fingerprint.key, self._settings.seed
        return [PeerId(peer) for peer in coordinators(peers, run=run, round_number=round_number, seed=seed)]

    @property
    def keepalive_s(self) -> float:
        """How often those that wait are told so."""
        return self._admission.timing.probe_timeout_s / 2

    async def await_assignment(self, peer: PeerId, ready: Ready, *, stream: Stream | None) -> Answer:
        """What becomes of a peer that is ready. stream: on which it is told that it has to wait; None for this peer."""
        if ready.round < self._membership.own.round:
            return StaleRound(round=self._membership.own.round)
        self._membership.reach_round(ready.round)
        pending = self._pending.setdefault(ready.round, _PendingRound(ready.round))
        ready_peer = _ReadyPeer(ready, self._clock.now() + ready.patience_s, asyncio.get_running_loop().create_future())
        pending.ready_peers[peer] = ready_peer
        self._promises.kept_by([peer])
        try:
            while not ready_peer.answer.done():
                if ready.round < self._membership.round:
                    # A newcomer that begins with an old number hears only now how far the others are.
                    return StaleRound(round=self._membership.round)
                coordinator = self.first_in_rank(ready.round)
                if coordinator not in (self._membership.me, peer) and not ready.no_redirect:
                    return Redirect(coordinator=coordinator)
                self._consider(pending)
                if not ready_peer.answer.done():
                    until_deadline_s = max(0.0, pending.deadline - self._clock.now())
                    await asyncio.wait([ready_peer.answer], timeout=min(self._tick_s, until_deadline_s))
                if stream is not None and not ready_peer.answer.done():
                    await send_message(stream, Waiting())
            return ready_peer.answer.result()
        finally:
            if pending.ready_peers.get(peer) is ready_peer:
                del pending.ready_peers[peer]
                if not pending.ready_peers:
                    self._close(pending)

    def withdraw(self, peer: PeerId) -> None:
        """Takes out a peer that wants no group any more, from all rounds in which it has none yet."""
        for pending in tuple(self._pending.values()):
            self._let_go(pending, peer)

    async def _serve(self, stream: Stream) -> None:
        async with self._clock.timeout(self._admission.timing.dial_timeout_s):
            ready = await receive_message(stream, Ready)
        if not self._membership.believes(ready.round):
            stream.abort()
            return
        withdrawing = asyncio.create_task(self._hear_withdrawal(stream, ready.round))
        try:
            answer = await self.await_assignment(stream.remote, ready, stream=stream)
        finally:
            withdrawing.cancel()
        await send_message(stream, answer)

    async def _hear_withdrawal(self, stream: Stream, round_number: int) -> None:
        with contextlib.suppress(ConnectionError):
            await receive_message(stream, Withdraw)
            if pending := self._pending.get(round_number):
                self._let_go(pending, stream.remote)

    def _let_go(self, pending: _PendingRound, peer: PeerId) -> None:
        """Takes out a peer that wants no group any more."""
        ready_peer = pending.ready_peers.pop(peer, None)
        if ready_peer is not None:
            _answer(ready_peer, NoGroup(left_out=False))
            if not pending.ready_peers:
                self._close(pending)

    @property
    def _tick_s(self) -> float:
        """How often a coordinator looks whom it still waits for."""
        return min(self.keepalive_s, self._admission.timing.heartbeat_s / 2)

    def _close(self, pending: _PendingRound) -> None:
        pending.close()
        if self._pending.get(pending.round) is pending:
            del self._pending[pending.round]

    def _consider(self, pending: _PendingRound) -> None:
        """Forms the groups as soon as nobody is worth waiting for, or the time for waiting is over."""
        remaining_s = pending.deadline - self._clock.now()
        if len(self._available(pending) | pending.ready_peers.keys()) < self._limits.minimum:
            remaining_s = 0.0
        if remaining_s > 0 and (
            len(pending.ready_peers) < self._limits.minimum or self._expected(pending, remaining_s)
        ):
            return
        self._form_groups_and_answer(pending)

    def _available(self, pending: _PendingRound) -> set[PeerId]:
        """Who may come at all. A peer that has ended waits until it, or another one that has, wants to merge."""
        outlooks = self._membership.outlooks()
        return {peer for peer, outlook in outlooks.items() if pending.ends or outlook.finishing or not outlook.ended}

    def _expected(self, pending: _PendingRound, remaining_s: float) -> bool:
        """Whether a peer that is not here yet should come in time. One that wants everyone makes all others ready."""
        outlooks = self._membership.outlooks()
        everyone = pending.merges or any(self._finishes(peer, outlook) for peer, outlook in outlooks.items())
        found = False
        for peer in sorted(outlooks.keys() - pending.ready_peers.keys()):
            outlook = outlooks[peer]
            if outlook.ended and (pending.ends or outlook.finishing):
                found = self._is_awaited(pending, peer, 0.0, as_long_as_it_answers=True) or found
            elif (
                not outlook.ended and outlook.ready_in_s is not None and (everyone or outlook.ready_in_s <= remaining_s)
            ):
                found = self._is_awaited(pending, peer, outlook.ready_in_s) or found
            else:
                pending.due_s.pop(peer, None)
                self._promises.kept_by([peer])
        return found

    def _finishes(self, peer: PeerId, outlook: Outlook) -> bool:
        return outlook.finishing and (peer == self._membership.me or self._promises.is_worth_waiting_for(peer))

    def _is_awaited(
        self, pending: _PendingRound, peer: PeerId, ready_in_s: float, *, as_long_as_it_answers: bool = False
    ) -> bool:
        """Whether a peer that has promised to come is still worth waiting for; it is asked once where it is late."""
        if ready_in_s > 0:
            pending.due_s.pop(peer, None)
            self._promises.kept_by([peer])
            return True
        if peer in pending.missed or not self._promises.is_worth_waiting_for(peer):
            return False
        timing = self._admission.timing
        late_s = self._clock.now() - pending.due_s.setdefault(peer, self._clock.now())
        if late_s >= timing.heartbeat_s and peer not in pending.meetings and peer != self._membership.me:
            pending.meetings[peer] = asyncio.create_task(self._ask_for_view(pending, peer))
        if late_s >= 2 * timing.heartbeat_s + timing.dial_timeout_s and not as_long_as_it_answers:
            pending.missed.add(peer)
        return peer not in pending.missed

    async def _ask_for_view(self, pending: _PendingRound, peer: PeerId) -> None:
        """Afterwards both know the same peers, and so the same coordinator; and this one how soon the other is
        ready."""
        if not await self._membership.meet(peer):
            pending.missed.add(peer)
            pending.silent.add(peer)

    def _form_groups_and_answer(self, pending: _PendingRound) -> None:
        self._close(pending)
        missed = [peer for peer in pending.due_s if peer not in pending.ready_peers]
        self._promises.broken_by(missed)
        ready_peers, pending.ready_peers = pending.ready_peers, {}
        # Who merges for the last time merges with everyone, so that all who end together end with one model.
        merging = any(ready_peer.ready.purpose != "round" for ready_peer in ready_peers.values())
        how = "all" if merging else self._settings.grouping
        grouping = form_groups(
            ready_peers,
            limits=limits_for(how, self._limits),
            run=self._admission.fingerprint.key,
            round_number=pending.round,
            seed=self._settings.seed,
            urgent=[peer for peer, ready_peer in ready_peers.items() if ready_peer.ready.urgent],
            grouping=how,
            last_groups={peer: ready_peer.ready.last_group for peer, ready_peer in ready_peers.items()},
        )
        _logger.info("round %d: groups %s, left out %s", pending.round, grouping.groups, grouping.left_out)
        for group in grouping.groups:
            # Who has held a round up does not lead one.
            members = self._promises.in_order([PeerId(peer) for peer in group])
            readies = [ready_peers[peer].ready for peer in members]
            assignment = Assignment(
                round_id=f"{self._rng.getrandbits(128):032x}",
                round=pending.round,
                members=members,
                samples=tuple(ready.samples for ready in readies),
                speeds=agreed_speeds(members, {peer: _seen(ready_peers[peer].ready) for peer in members}),
                codec=_common([ready.codec for ready in readies]) or "fp32",
                missed=tuple(missed[:MAX_MEMBERS]),
                final=all(ready.purpose == "end" for ready in readies),
                follow_up=all(ready.follow_up for ready in readies),
                silent=tuple(sorted(pending.silent)[:MAX_MEMBERS]),
            )
            for member in members:
                _answer(ready_peers[member], assignment)
        for peer in grouping.left_out:
            _answer(ready_peers[PeerId(peer)], NoGroup(left_out=bool(grouping.groups)))
        if grouping.groups:
            self._membership.reach_round(pending.round + 1)


def _answer(ready_peer: _ReadyPeer, answer: Answer) -> None:
    if not ready_peer.answer.done():
        ready_peer.answer.set_result(answer)


def _seen(ready: Ready) -> dict[PeerId, float]:
    return {PeerId(peer): speed for peer, speed in ready.speeds.items()}


def _common(values: Sequence[ValueT]) -> ValueT | None:
    """What all of them are, or None."""
    return values[0] if len(set(values)) == 1 else None
