"""How heartbeats spread: every peer tells a few others in each period, and they tell theirs.

Owns whom this peer tells and when, and the protocol by which two peers pass to each other what the other one lacks;
also the first try to meet those that are only heard of. Does not know what heartbeats say, nor who counts as alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable

from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream, UnreachableError
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.candidates import Candidates
from gossiptrain.swarm.intake import records_that_fit
from gossiptrain.swarm.member_table import MemberTable
from gossiptrain.swarm.messages import (
    BEATS_LIMIT_BYTES,
    MAX_RECORDS,
    HeartbeatBatch,
    HeartbeatReply,
    HeartbeatSummary,
    SignedHeartbeat,
)
from gossiptrain.swarm.own_heartbeat import OwnHeartbeat
from gossiptrain.swarm.versions import key_of, lacking

_logger = logging.getLogger(__package__)
HEARTBEATS = "/gossiptrain/heartbeats"
FANOUT = 3
"""Peers that hear from this one directly in each period; the others hear through them, in about log(N) periods."""
SMALL_SWARM = 16
"""Others of whom all hear at once where news should not wait."""
FANOUT_IN_LARGE_SWARMS = 2
"""Both sides of an exchange hear the news of the other, so 64 peers hear of anything within three periods as before."""
EXCHANGES_AT_ONCE = 256
"""In a large swarm news that should not wait goes to so few that it takes about so many exchanges if all have some at
the same moment, as at the end of a run. If each of 64 peers told all others, that alone would be 4,000."""
LEAST_WIDE = 6
"""But to so many in any case; these tell the others a period later."""
MAX_TRIES = 8
"""Peers that are only heard of, of which so many are tried at once."""


class Dissemination:
    """Passes on the own heartbeat and those of the table, and takes in what others pass on."""

    def __init__(
        self,
        admission: Admission,
        own: OwnHeartbeat,
        table: MemberTable,
        candidates: Candidates,
        *,
        rng: random.Random,
    ) -> None:
        self._admission = admission
        self._transport = admission.transport
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._own = own
        self._table = table
        self._candidates = candidates
        self._rng = rng
        self._tried: set[PeerId] = set()
        """Of those that are only heard of, who is being tried now."""

    async def open(self) -> None:
        """From now on takes in the heartbeats that others pass on."""
        await self._admission.serve(HEARTBEATS, self._receive, to_watchers=True)

    async def run(self) -> None:
        """Sends heartbeats until cancelled."""
        calls: dict[PeerId, asyncio.Task[bool]] = {}
        tries: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._own.beat()
                self._table.expire()
                calls = {peer: call for peer, call in calls.items() if not call.done()}
                for peer in self._few():
                    if peer not in calls:
                        calls[peer] = tasks.create_task(self._exchange(peer))
                tries = {task for task in tries if not task.done()}
                due = len(list(self._candidates.due(now_s=self._clock.now())))
                tries |= {tasks.create_task(self._meet_some()) for _ in range(min(due, MAX_TRIES - len(tries)))}
                await self._clock.sleep(self._timing.heartbeat_s * self._rng.uniform(0.9, 1.1))

    async def meet_candidates(self) -> None:
        """Tries everybody who is only heard of, a few at once; waits no longer than `dial_timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(self._timing.dial_timeout_s):
                await asyncio.gather(*(self._meet_some() for _ in range(MAX_TRIES)))

    async def _meet_some(self) -> None:
        """Tries one after the other of those that are only heard of, until nobody is left to be tried now."""
        while True:
            due = self._candidates.due(now_s=self._clock.now())
            peer = next((peer for peer in due if peer not in self._tried), None)
            if peer is None:
                return
            self._tried.add(peer)
            try:
                await self._try(peer)
            finally:
                self._tried.discard(peer)

    async def announce(self) -> None:
        """Tells a few peers at once, out of turn, what this peer now says of itself."""
        self._own.beat()
        await asyncio.gather(*(self._exchange(peer) for peer in self._few()))

    async def say_goodbye(self, *, widely: bool) -> None:
        """Tells others that this one leaves. widely: as `announce_widely` does, else as `announce` does."""
        self._own.leave()
        await self._announce_to(self._many() if widely else self._few())

    async def meet(self, peer: PeerId, *, within_s: float) -> bool:
        """Tells one peer at once what this one says of itself and knows of others, and hears the same.

        False where it does not answer in time.
        """
        self._own.beat()
        try:
            async with self._clock.timeout(within_s):
                return await self._exchange(peer)
        except TimeoutError:
            return False

    async def announce_widely(self) -> None:
        """Tells all others, or as many as suffice for all to hear of it soon, what this peer now says of itself.

        Hears the same of them, and waits no longer than `probe_timeout_s`; more than a heartbeat costs, so for the few
        moments when it matters.
        """
        await self._announce_to(self._many())

    async def _announce_to(self, peers: list[PeerId]) -> None:
        self._own.beat()
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(self._timing.probe_timeout_s):
                await asyncio.gather(*(self._exchange(peer) for peer in peers))

    def learn_revocations(self, data: bytes) -> None:
        """Takes in a list of revocations, which goes on with the heartbeats; whom it names is gone."""
        if self._admission.learn_revocations(data):
            for peer in self._table.live():
                if self._admission.is_revoked(peer):
                    self._table.suspect(peer)

    def _few(self) -> list[PeerId]:
        """Whom to tell what can wait for the others' heartbeats."""
        live = sorted(self._table.live())
        return self._some(live, FANOUT if len(live) <= SMALL_SWARM else FANOUT_IN_LARGE_SWARMS)

    def _many(self) -> list[PeerId]:
        """Whom to tell what should not wait."""
        live = sorted(self._table.live())
        is_small = len(live) <= SMALL_SWARM
        return live if is_small else self._some(live, max(LEAST_WIDE, EXCHANGES_AT_ONCE // len(live)))

    def _some(self, peers: list[PeerId], most: int) -> list[PeerId]:
        """All of them, or as many by chance."""
        return peers if len(peers) <= most else self._rng.sample(peers, most)

    async def _try(self, peer: PeerId) -> None:
        """Calls a peer that is only heard of; where it does not answer, it is tried later."""
        self._transport.remember(peer, self._candidates.addresses(peer))
        # In a large swarm a list of all for each of all is most of what a newcomer costs.
        await self._exchange(peer, only_own=self._candidates.suffice)
        self._candidates.failed(peer, now_s=self._clock.now())  # unless it was met and is none any more

    async def _exchange(self, peer: PeerId, *, only_own: bool = False) -> bool:
        """Passes heartbeats to and fro; says whether the peer answered. only_own: none but those of the two."""
        try:
            async with self._clock.timeout(self._timing.dial_timeout_s):
                stream = await self._admission.stream(peer, HEARTBEATS)
                try:
                    await self._ask(stream, only_own=only_own)
                finally:
                    await stream.close()
                return True
        except UnreachableError as error:
            _logger.info("%s cannot be reached: %s", peer, error)
            self._table.suspect(peer)
        except (ConnectionError, TimeoutError) as error:
            _logger.debug("no heartbeats from %s: %r", peer, error)
            # The link broke or is slow; the peer's lifetime decides. It may have started anew and not know this peer.
            self._admission.forget(peer)
        return False

    async def _receive(self, stream: Stream) -> None:
        async with self._clock.timeout(self._timing.dial_timeout_s):
            await self._answer(stream)

    async def _ask(self, stream: Stream, *, only_own: bool) -> None:
        """The caller's side: says what it has, hears what it lacks, and gives what the other side wants."""
        access = self._admission.access
        serial = 0 if access is None else access.revocations.serial
        summary = HeartbeatSummary(
            own=self._own.record,
            versions={} if only_own else self._table.versions(),
            most_unknown=0 if only_own else self._candidates.most_new,
            revocations=serial,
        )
        await send_message(stream, summary, limit_bytes=BEATS_LIMIT_BYTES)
        reply = await receive_message(stream, HeartbeatReply, limit_bytes=BEATS_LIMIT_BYTES)
        self.learn_revocations(reply.revocations)
        self._table.absorb(reply.records, told_by=stream.remote)
        if reply.wanted or reply.wants_revocations:
            wanted = self._table.records_of(reply.wanted)
            records = records_that_fit(self._own.record, wanted)
            newest = access.newer_than(0) if access is not None and reply.wants_revocations else b""
            batch = HeartbeatBatch(records=records, revocations=newest)
            await send_message(stream, batch, limit_bytes=BEATS_LIMIT_BYTES)

    async def _answer(self, stream: Stream) -> None:
        """The other side."""
        summary = await receive_message(stream, HeartbeatSummary, limit_bytes=BEATS_LIMIT_BYTES)
        self._table.absorb([summary.own], told_by=stream.remote)
        told, wanted = self._news_for(summary, stream.remote)
        access = self._admission.access
        wants_revocations = access is not None and summary.revocations > access.revocations.serial
        reply = HeartbeatReply(
            records=records_that_fit(self._own.record, told),
            wanted=wanted,
            revocations=b"" if access is None else access.newer_than(summary.revocations),
            wants_revocations=wants_revocations,
        )
        await send_message(stream, reply, limit_bytes=BEATS_LIMIT_BYTES)
        if wanted or wants_revocations:
            batch = await receive_message(stream, HeartbeatBatch, limit_bytes=BEATS_LIMIT_BYTES)
            self.learn_revocations(batch.revocations)
            self._table.absorb(batch.records, told_by=stream.remote)

    def _news_for(self, summary: HeartbeatSummary, peer: PeerId) -> tuple[Iterable[SignedHeartbeat], tuple[str, ...]]:
        """What that peer lacks, and the keys of what this one lacks."""
        if not summary.versions and not summary.most_unknown:
            return (), ()
        mine, theirs = self._table.versions(), dict(summary.versions)
        for known in (self._own.peer, peer):  # of whom each side has heard by now
            mine.pop(key_of(known), None)
            theirs.pop(key_of(known), None)
        told = self._table.records_of(lacking(theirs, mine, self._rng, most_unknown=summary.most_unknown))
        wanted = lacking(mine, theirs, self._rng, most_unknown=self._candidates.most_new)
        return told, tuple(wanted[:MAX_RECORDS])
