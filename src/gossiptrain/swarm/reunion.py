"""How a swarm that was cut apart becomes one again, whatever lay between and for however long.

Owns the tries to reach peers that are lost or were named, beside everything else that a peer does: also while others
are alive, because each half of a swarm has company. Owns as well that the directory, which a cut splits like the
swarm, is joined again. Does not know what an address looks like, nor who counts as alive: that is `membership`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from gossiptrain.errors import RunMismatchError
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.address_book import SELDOM_TRIES, AddressBook, peer_of
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.dialling import Introduction
from gossiptrain.swarm.member_table import Change
from gossiptrain.swarm.membership import Membership

PERIOD_S = 1.0
TRIES_IN_PERIOD = 2
"""Lost peers, drawn at random among those that are due, that are tried in one period; initial ones come in addition."""
MAX_VISITS = 8
"""Tries under way at any time."""
MAX_SOUGHT = 32
"""Known peers that are asked at once by a peer that has just started."""
MAX_BRIDGES = 3
"""Peers that have come back through which the directory is joined again."""


class Reunion:
    """Tries again and again to reach the peers of the book that are not known to live."""

    def __init__(self, admission: Admission, membership: Membership, *, rng: random.Random) -> None:
        self.book = AddressBook()
        self._admission = admission
        self._membership = membership
        self._introduction = Introduction(admission, membership)
        self._transport = admission.transport
        self._clock = admission.transport.clock
        self._rng = rng
        self._visits: dict[PeerId, asyncio.Task[bool]] = {}
        self._returned: dict[PeerId, None] = {}

    def name(self, addresses: Iterable[str], *, initial: bool) -> None:
        """Takes addresses into the book at which somebody may live. initial: never to be given up."""
        me = f"/p2p/{self._transport.peer_id}"
        others = [address for address in addresses if not address.endswith(me)]
        self.book.note_named(others, now_s=self._clock.now(), initial=initial)

    def learn(self, peer: PeerId, addresses: Iterable[str]) -> None:
        """Takes addresses into the book at which a lost peer may live now, as somebody says."""
        self.name((address for address in addresses if peer_of(address) == peer), initial=False)

    def note(self, change: Change, peer: PeerId) -> None:
        """Hears of every change of the membership."""
        now_s = self._clock.now()
        if change in ("joined", "moved"):
            said = self._membership.said_by(peer)
            if said is not None and self.book.note(peer, said.addresses, now_s=now_s):
                self._returned[peer] = None
        elif change == "lost":
            self.book.lose(peer, proved=self._admission.has_admitted(peer), now_s=now_s)
        elif change == "left":
            self.book.drop(peer, now_s=now_s)

    async def seek(self) -> list[PeerId]:
        """Asks the known peers that were seen last, all at once, but no initial ones; one member's answer is enough.

        Returns who has answered. Nobody: none of them is there yet, or any more; `run` goes on trying.
        """
        sought = [peer for peer in self.book.lost() if not self.book.is_initial(peer)][:MAX_SOUGHT]
        async with asyncio.TaskGroup() as tasks:
            visits = {tasks.create_task(self._visit(peer)): peer for peer in sought}
            for visit in asyncio.as_completed(visits):
                if await visit:
                    for other in visits:
                        other.cancel()
                    break
        return [peer for task, peer in visits.items() if not task.cancelled() and task.result()]

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            rejoining: asyncio.Task[None] | None = None
            while True:
                self._visits = {peer: visit for peer, visit in self._visits.items() if not visit.done()}
                for peer in self._chosen():
                    self._visits[peer] = tasks.create_task(self._visit(peer))
                if self._returned and (rejoining is None or rejoining.done()):
                    rejoining = tasks.create_task(self._rejoin_directory())
                await self._clock.sleep(PERIOD_S)

    def _chosen(self) -> list[PeerId]:
        due = [peer for peer in self.book.due(self._clock.now()) if peer not in self._visits]
        initial = [peer for peer in due if self.book.is_initial(peer)]
        others = [peer for peer in due if not self.book.is_initial(peer)]
        self._rng.shuffle(initial)
        drawn = self._rng.sample(others, min(TRIES_IN_PERIOD, len(others)))
        return [*drawn, *initial][: MAX_VISITS - len(self._visits)]

    async def _visit(self, peer: PeerId) -> bool:
        """One try to meet a peer, and through it its half of the swarm; says whether it answers and is a member."""
        self._count_try(peer)
        try:
            await self._introduction.reach(peer, self.book.addresses(peer))
            is_member = await self._introduction.meet(peer)
        except RunMismatchError:
            self._count_try(peer, at_least=SELDOM_TRIES)
            return False
        except (ConnectionError, TimeoutError):
            return False
        if not is_member:
            # It keeps a part of the directory, and may have started anew or stood on the other side of a cut.
            self._count_try(peer, at_least=SELDOM_TRIES)
            await self._transport.bootstrap([peer])
        return is_member

    def _count_try(self, peer: PeerId, *, at_least: int = 0) -> None:
        jitter = self._rng.uniform(0.8, 1.2)
        self.book.tried(peer, pause_factor=jitter, now_s=self._clock.now(), at_least=at_least)

    async def _rejoin_directory(self) -> None:
        """A cut splits the directory too: each side keeps its own until somebody makes both known to each other."""
        returned, self._returned = list(self._returned), {}
        reached = []
        for peer in self._rng.sample(returned, min(MAX_BRIDGES, len(returned))):
            try:
                await self._introduction.reach(peer, self.book.addresses(peer))
            except (ConnectionError, TimeoutError):
                continue
            reached.append(peer)
        await self._transport.bootstrap(reached)
