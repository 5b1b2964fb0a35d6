"""How a peer first finds the others.

Owns the first contact: it dials the initial peers, asks them who is there, and keeps an entry in the directory, where
it also looks for peers that it has not met. How it finds those again that it has lost is `reunion`. Does not know what
is said once two peers have met.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence

from gossiptrain.errors import RunMismatchError
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.address_book import peer_of
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.dialling import MAX_AT_ONCE, Dialled, Introduction, dial_all
from gossiptrain.swarm.membership import Membership
from gossiptrain.swarm.rendezvous import Rendezvous
from gossiptrain.swarm.reunion import Reunion

MAX_HINTS = 64
LEAST_HINTS = MAX_AT_ONCE
"""So many hints are followed in any case, lest those that speak of many that are not there hide the others. The rest
are left where this peer hears of plenty: in a large swarm that is cheaper."""
START_PATIENCE = 2.0
"""For how many times the time of a dial an initial peer is tried that does not answer yet."""
REDIAL_S = 0.5


class Discovery:
    """Meets peers at addresses that people gave, and those that stand in the directory."""

    def __init__(self, admission: Admission, membership: Membership, reunion: Reunion, *, rng: random.Random) -> None:
        self._introduction = Introduction(admission, membership)
        self._rendezvous = Rendezvous(admission)
        self._transport = admission.transport
        self._clock = admission.transport.clock
        self._timing = admission.timing
        self._membership = membership
        self._reunion = reunion
        self._rng = rng

    async def join(self, initial_peers: Sequence[str], known: Sequence[str] = ()) -> None:
        """Meets the peers at the given addresses, and through them the rest.

        known: addresses of peers that were met in an earlier life, or that others say to be there; it is no error where
        none of these answers.
        Raises RunMismatchError where an initial peer takes part in another run, PeerUnreachableError where none
        answers, nor anybody known.
        """
        self._reunion.name(known, initial=False)
        self._reunion.name(initial_peers, initial=True)
        reached = await self._reunion.seek()
        if not reached:
            dialled = await self._dial_until_met(initial_peers)
            if dialled.mismatch is not None or not self._membership.live():
                dialled.check()
            reached = list(dialled.reached)
        await self._transport.bootstrap(reached)
        await self.consult_directory()
        await self._membership.meet_candidates()
        await self._membership.announce()

    async def run(self) -> None:
        """Keeps the entry fresh, and looks for new peers, until cancelled."""
        while True:
            await self._clock.sleep(self._timing.directory_s)
            await self.consult_directory()

    async def consult_directory(self) -> None:
        """Renews the own entry, and meets peers that the directory knows and this one does not."""
        await self._rendezvous.tell(lifetime_s=3 * self._timing.directory_s)
        known = self._membership.live().keys() | {self._transport.peer_id}
        strangers = [(peer, addresses) for peer, addresses in await self._rendezvous.found() if peer not in known]
        # By chance, so that nobody can push others out by the names that it makes up.
        hints = self._rng.sample(strangers, min(len(strangers), MAX_HINTS))
        free = asyncio.Semaphore(MAX_AT_ONCE)
        await asyncio.gather(
            *(
                self._follow_hint(peer, addresses, free, at_any_rate=number < LEAST_HINTS)
                for number, (peer, addresses) in enumerate(hints)
            )
        )

    async def _dial_until_met(self, addresses: Sequence[str]) -> Dialled:
        """Meets the initial peers; where none answers they may be starting just now, and so it is tried again."""
        give_up_at_s = self._clock.now() + START_PATIENCE * self._timing.dial_timeout_s
        while self._clock.now() < give_up_at_s:
            dialled = await self._dial(addresses, self._reach)
            if dialled.reached or dialled.mismatch is not None or not addresses or self._membership.live():
                return dialled
            await self._membership.wait_for_change(REDIAL_S)
        # Once more in the way that says best what is wrong.
        return await self._dial(addresses, self._transport.connect)

    async def _reach(self, address: str) -> PeerId:
        peer = peer_of(address)
        if peer is None:
            return await self._transport.connect(address)
        await self._transport.reach(peer, [address])
        return peer

    async def _dial(self, addresses: Sequence[str], connect: Callable[[str], Awaitable[PeerId]]) -> Dialled:
        """Meets whoever lives at the addresses."""
        timeout_s = self._timing.dial_timeout_s
        return await dial_all(
            self._transport, addresses, timeout_s=timeout_s, meet=self._introduction.meet, connect=connect
        )

    async def _follow_hint(
        self, peer: PeerId, addresses: Sequence[str], free: asyncio.Semaphore, *, at_any_rate: bool
    ) -> None:
        """The directory may be wrong or lie: whatever does not check out is passed over."""
        if peer in self._reunion.book:
            # Tried again and again anyway, from now on there as well.
            self._reunion.learn(peer, addresses)
            return
        async with free:
            if self._membership.said_by(peer) is not None:
                return  # it was the first to call
            if self._membership.has_many_to_meet and not at_any_rate:
                return
            self._transport.remember(peer, addresses)
            with contextlib.suppress(RunMismatchError, ConnectionError, TimeoutError):
                await self._introduction.meet(peer)
