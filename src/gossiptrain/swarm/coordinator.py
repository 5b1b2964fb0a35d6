"""The coordinator of a round: it collects the peers that are ready and has them divided into groups.

Owns the pending rounds of this peer, and the answers to those that wait in them. A coordinator that meets a peer of
higher rank redirects the ready peers to it. Whom it still waits for is in `stragglers`, what a group is told in
`group_forming`. Does not know how a peer finds its coordinator, nor what a group does with itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection

from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.group_forming import Absent, GroupForming
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.messages import Assignment, NoGroup, Ready, Redirect, StaleRound, Waiting, Withdraw
from gossiptrain.swarm.pending_round import Answer, PendingRound, ReadyPeer
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.ranks import Ranks
from gossiptrain.swarm.stragglers import Stragglers

_logger = logging.getLogger(__package__)
READY = "/gossiptrain/ready"


class Coordinator:
    """Forms groups for all peers that ask this one."""

    def __init__(
        self,
        admission: Admission,
        membership: Membership,
        ranks: Ranks,
        forming: GroupForming,
        *,
        promises: Promises,
        minimum_members: int,
    ) -> None:
        """ranks: as this peer sees them, whether it coordinates a round or takes part in one."""
        self._admission = admission
        self._clock = admission.transport.clock
        self._membership = membership
        self._promises = promises
        self._stragglers = Stragglers(admission, membership, promises, minimum_members=minimum_members)
        self.ranks = ranks
        self._forming = forming
        self._pending: dict[int, PendingRound] = {}

    async def open(self) -> None:
        """From now on coordinates when asked."""
        await self._admission.serve(READY, self._serve)

    def first_in_rank(self, round_number: int) -> PeerId:
        """Who coordinates a round, as far as this peer can see."""
        return self.ranks.first_coordinator(self._membership.trainers(), round_number)

    def ranked(self, peers: Collection[PeerId], round_number: int) -> list[PeerId]:
        """In the order in which they coordinate a round, one in place of the other."""
        return self.ranks.coordinators(peers, round_number)

    @property
    def keepalive_s(self) -> float:
        """How often those that wait are told so."""
        return self._admission.timing.probe_timeout_s / 2

    async def await_assignment(self, peer: PeerId, ready: Ready, *, stream: Stream | None) -> Answer:
        """What becomes of a peer that is ready. stream: on which it is told that it has to wait; None for this peer."""
        if ready.round < self._membership.own.round:
            return StaleRound(round=self._membership.own.round)
        self._membership.reach_round(ready.round)
        pending = self._pending.setdefault(ready.round, PendingRound(ready.round))
        ready_peer = ReadyPeer(ready, self._clock.now() + ready.patience_s, asyncio.get_running_loop().create_future())
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
                if not self._stragglers.are_awaited(pending):
                    self._form_groups_and_answer(pending)
                if not ready_peer.answer.done():
                    until_deadline_s = max(0.0, pending.deadline_s - self._clock.now())
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

    def _let_go(self, pending: PendingRound, peer: PeerId) -> None:
        """Takes out a peer that wants no group any more."""
        ready_peer = pending.ready_peers.pop(peer, None)
        if ready_peer is not None:
            ready_peer.settle(NoGroup(left_out=False))
            if not pending.ready_peers:
                self._close(pending)

    @property
    def _tick_s(self) -> float:
        """How often a coordinator looks whom it still waits for."""
        return min(self.keepalive_s, self._admission.timing.heartbeat_s / 2)

    def _close(self, pending: PendingRound) -> None:
        pending.close()
        if self._pending.get(pending.round) is pending:
            del self._pending[pending.round]

    def _form_groups_and_answer(self, pending: PendingRound) -> None:
        self._close(pending)
        missed = pending.late()
        self._promises.broken_by(missed)
        ready_peers, pending.ready_peers = pending.ready_peers, {}
        readies = {peer: ready_peer.ready for peer, ready_peer in ready_peers.items()}
        answers = self._forming.answers(pending.round, readies, Absent(missed, pending.silent))
        groups = {answer.members for answer in answers.values() if isinstance(answer, Assignment)}
        left_out = [peer for peer, answer in answers.items() if isinstance(answer, NoGroup)]
        _logger.info("round %d: groups %s, left out %s", pending.round, sorted(groups), left_out)
        for peer, answer in answers.items():
            ready_peers[peer].settle(answer)
        if groups:
            self._membership.reach_round(pending.round + 1)
