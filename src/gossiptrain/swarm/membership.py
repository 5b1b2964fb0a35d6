"""Who is there: soft state that every peer holds for itself.

Puts together what the swarm knows of its members, and answers what follows from it: who trains, who is still to join,
when each is ready and ends, and which round is next. What others said and who of them lives is in `member_table`, the
own word in `own_heartbeat`, the spreading of both in `dissemination`. Does not know how members are first found, nor
what they do together.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.candidates import Candidates
from gossiptrain.swarm.dissemination import Dissemination
from gossiptrain.swarm.member_table import Change, MemberTable
from gossiptrain.swarm.messages import Heartbeat
from gossiptrain.swarm.outlook import Outlook
from gossiptrain.swarm.own_heartbeat import Identification, OwnHeartbeat, OwnState, Role

Life = tuple[PeerId, int | None]
"""A peer, and its incarnation; None where it does not live as far as is known."""


class Membership:
    """The members that this peer believes to be alive, itself included."""

    def __init__(
        self,
        admission: Admission,
        *,
        rng: random.Random,
        incarnation: int,
        role: Role = "trainer",
        on_change: Callable[[Change, PeerId], None] = lambda change, peer: None,
    ) -> None:
        timing = admission.timing
        self._candidates = Candidates(rng, period_s=timing.heartbeat_s, lifetime_s=timing.lifetime_s)
        self._table = MemberTable(admission, self._candidates, on_change=on_change)
        identification = Identification(admission.fingerprint.key, incarnation, role)
        self._own = OwnHeartbeat(admission.transport, self._table, identification, lifetime_s=timing.lifetime_s)
        self._dissemination = Dissemination(admission, self._own, self._table, self._candidates, rng=rng)

    # This peer.

    @property
    def me(self) -> PeerId:
        """This peer."""
        return self._own.peer

    @property
    def own(self) -> OwnState:
        """What this peer says of itself."""
        return self._own.state

    def describe(self, state: OwnState) -> None:
        """Changes what this peer says of itself from now on, to whoever asks or hears its next heartbeat."""
        self._own.describe(state)

    @property
    def round(self) -> int:
        """The number of the next round, as far as any living peer knows and most of them make it believable."""
        return self._own.round

    def believes(self, number: int) -> bool:
        """Whether the next round can have this number, going by what the living peers say."""
        return self._own.believes(number)

    def reach_round(self, number: int) -> None:
        """Notes that the round before `number` is over, where that can be."""
        self._own.reach_round(number)

    def learn_revocations(self, data: bytes) -> None:
        """Takes in a list of revocations of this peer's private swarm; whom it names is gone."""
        self._dissemination.learn_revocations(data)

    # All peers.

    def live(self) -> dict[PeerId, Heartbeat]:
        """The others that live, by peer."""
        return self._table.live()

    def said_by(self, peer: PeerId) -> Heartbeat | None:
        """What another one that lives said last; None where the peer does not live."""
        return self._table.said_by(peer)

    def participants(self) -> dict[PeerId, Heartbeat]:
        """Those of them that train, or will once they have joined; who only watches is left out."""
        return {peer: heartbeat for peer, heartbeat in self.live().items() if heartbeat.role == "trainer"}

    def silent_s(self, peer: PeerId) -> float:
        """Seconds since the last heartbeat of a living peer came, whoever passed it on."""
        return self._table.age_s(peer)

    def only_watches(self, peer: PeerId) -> bool:
        """Whether a peer that was once known trains nothing, whether it lives or not."""
        return self._table.only_watches(peer)

    def life_of(self, peer: PeerId) -> Life:
        """Which life of a living peer this is: it is another one once the peer has started anew."""
        heartbeat = self._table.said_by(peer)
        return peer, None if heartbeat is None else heartbeat.incarnation

    def has_lost(self, peer: PeerId) -> bool:
        """Whether the peer was once known and does not live as far as this one can see."""
        return self._table.has_lost(peer)

    def suspect(self, peer: PeerId) -> None:
        """Counts a peer as gone until it is met again, on direct evidence that it does not answer."""
        self._table.suspect(peer)

    def trainers(self) -> set[PeerId]:
        """All living peers that hold the swarm's parameters, with this one if it does: any may coordinate a round."""
        found = self._table.trainers()
        return found | {self.me} if self._own.trains else found

    def joiners(self) -> dict[PeerId, int]:
        """The steps of the other living peers that do not hold the swarm's parameters yet."""
        return {peer: heartbeat.step for peer, heartbeat in self.live().items() if heartbeat.is_joining}

    def outlooks(self) -> dict[PeerId, Outlook]:
        """What is to be expected of each of the trainers, as of now; in the same order in every run."""
        ages_s, live = self._table.ages_s(), self.live()
        found = {peer: Outlook.of(said, age_s=ages_s[peer]) for peer, said in live.items() if said.trains}
        if self._own.trains:
            found[self.me] = Outlook.of(self.own, age_s=0.0)
        return {peer: found[peer] for peer in sorted(found)}

    def ended(self) -> set[PeerId]:
        """The other trainers that have made their last step."""
        return {peer for peer, outlook in self.outlooks().items() if outlook.ended and peer != self.me}

    def others_end_in_s(self) -> dict[PeerId, float | None]:
        """Seconds until each of the other living trainers that still train has made its last step, as of now.

        None where it cannot say; 0.0 where it is late.
        """
        outlooks = self.outlooks().items()
        return {peer: outlook.ends_in_s for peer, outlook in outlooks if not outlook.ended and peer != self.me}

    async def wait_for_change(self, longest_s: float) -> None:
        """Until any other peer says something new or is lost, and no longer than this."""
        await self._table.wait_for_change(longest_s)

    def wake(self) -> None:
        """Ends all waiting for a change."""
        self._table.wake()

    # What they say to each other.

    async def open(self) -> None:
        """From now on takes in the heartbeats that others pass on."""
        await self._dissemination.open()

    async def run(self) -> None:
        """Sends heartbeats until cancelled."""
        await self._dissemination.run()

    async def announce(self) -> None:
        """Tells a few peers at once, out of turn, what this peer now says of itself."""
        await self._dissemination.announce()

    async def meet(self, peer: PeerId, *, within_s: float) -> bool:
        """Exchanges heartbeats with one peer at once. False where it does not answer in time."""
        return await self._dissemination.meet(peer, within_s=within_s)

    async def announce_widely(self) -> None:
        """Exchanges heartbeats with all others, or many, at once; waits no longer than `probe_timeout_s`."""
        await self._dissemination.announce_widely()

    @property
    def has_many_to_meet(self) -> bool:
        """Whether it was told of so many others, which it has not met yet, that it is not worth hearing of more."""
        return self._candidates.suffice

    async def meet_candidates(self) -> None:
        """Tries everybody who is only heard of, a few at once; waits no longer than `dial_timeout_s`."""
        await self._dissemination.meet_candidates()

    async def say_goodbye(self, *, widely: bool) -> None:
        """Tells many peers, or a few, that this one leaves; waits no longer than `probe_timeout_s`."""
        await self._dissemination.say_goodbye(widely=widely)
