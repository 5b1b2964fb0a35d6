"""How long a peer that has made its last step waits for others that are about to make theirs.

Owns the rule by which peers that end within a stated grace of each other make one last group. Nobody decides it for
all: everyone says that it has ended, and waits until all others have, or until the grace of the first of them is over,
which then wants to merge; that ends the waiting of all the others too, but whoever expects somebody to end within its
own grace waits again afterwards. Owns also how long all of it may take. Does not know the merge itself.
"""

from __future__ import annotations

from collections.abc import Collection

from gossiptrain.net.framing import Message
from gossiptrain.net.transport import Clock, PeerId
from gossiptrain.swarm.membership import Life, Membership

LEAST_GRACE_S = 3.0
"""For which everybody is waited for: what ends one peer, such as a person, often ends others in the same moment."""
UNDER_WAY_S = 5.0
"""How long a round that is under way at the end may take beyond all graces, and the last one where it is cut short."""


class Grace(Message):
    """How long to wait for others, counted from the own last step.

    longest_s: for those that say they will end within it. unknown_s: for those that cannot say when. least_s: for
    everybody, since what ends a peer may be about to end the others too, though none of them knows. No longer than
    `longest_s` all three.
    """

    longest_s: float
    unknown_s: float
    least_s: float

    @classmethod
    def usual(cls, ending_time_s: float, *, longest_s: float | None = None) -> Grace:
        """`ending_time_s` for those that cannot say when they end, perhaps more for those that can."""
        longest_s = max(ending_time_s, longest_s or 0.0)
        return cls(longest_s=longest_s, unknown_s=ending_time_s, least_s=min(LEAST_GRACE_S, longest_s))

    def after(self, passed_s: float) -> Grace:
        """What is left of it."""
        return Grace(
            longest_s=max(0.0, self.longest_s - passed_s),
            unknown_s=max(0.0, self.unknown_s - passed_s),
            least_s=max(0.0, self.least_s - passed_s),
        )


class Farewell(Message):
    """How to end. patience_s: how long the last group may take to form, once others are not waited for any more.

    follow_up: whether there will be one more such end, to merge running statistics. cuts_short: whether it may take no
    longer even where the last round is under way; otherwise that round has the time that its links need.
    """

    grace: Grace
    patience_s: float
    follow_up: bool = False
    cuts_short: bool = False

    @property
    def longest_s(self) -> float:
        """How long it may all take."""
        return self.grace.longest_s + self.patience_s + UNDER_WAY_S


class FarewellDeadline:
    """When the last rounds of one peer are over, however many it takes; by any monotonic clock."""

    def __init__(self, farewell: Farewell, *, now_s: float) -> None:
        self._farewell = farewell
        self._cuts_short = farewell.cuts_short
        self._began_s = now_s
        self._over_at_s = now_s + farewell.longest_s

    def left_s(self, now_s: float) -> float:
        """Seconds until it is over; not more than 0 where it is."""
        return self._over_at_s - now_s

    def is_over(self, now_s: float, *, under_way: bool) -> bool:
        """under_way: whether a last round has its group."""
        return self.left_s(now_s) <= 0 and (self._cuts_short or not under_way)

    def left(self, now_s: float) -> Farewell:
        """For the next round: with what is left of the grace."""
        return self._farewell.model_copy(update={"grace": self._farewell.grace.after(now_s - self._began_s)})

    def hasten(self, now_s: float) -> None:
        """Others are not waited for any more: only the last group may still form, and no round takes its time."""
        self._cuts_short = True
        self._over_at_s = min(self._over_at_s, now_s + self._farewell.patience_s)


class EndingBarrier:
    """Where one peer waits for those that end at about the same time; a barrier with a deadline."""

    def __init__(self, membership: Membership, clock: Clock, *, longest_nap_s: float) -> None:
        """longest_nap_s: after which what the others say is looked at again though nobody has said anything new."""
        self._membership = membership
        self._clock = clock
        self._longest_nap_s = longest_nap_s
        self._hastened = False
        self._have_ended: set[Life] = set()
        """Members of final rounds."""
        self._last_members: Collection[PeerId] = ()
        self._last_round_s = 0.0

    def note_round(self, members: Collection[PeerId], *, final: bool) -> None:
        """A last round is over. That its members wanted one is old news, until they have had time to say so again.

        final: whether all of them have made their last step, whatever was heard of them before.
        """
        if final:
            self._have_ended |= {self._membership.life_of(peer) for peer in members}
        self._last_members = members
        self._last_round_s = self._clock.now()

    def hasten(self) -> None:
        """Nobody is waited for any more, now or later."""
        self._hastened = True
        self._membership.wake()

    async def wait(self, grace: Grace) -> bool:
        """Until nobody is worth waiting for; says whether all others that are there have ended, too."""
        began_s = self._clock.now()
        while True:
            left_s = self._worth_waiting_s(grace, passed_s=self._clock.now() - began_s)
            if left_s <= 0:
                return not self._others_end_in_s()
            await self._membership.wait_for_change(min(left_s, self._longest_nap_s))

    def expects_others(self, grace: Grace) -> bool:
        """Whether somebody that still trains has said that it ends within what is left of the grace."""
        ends = self._others_end_in_s().values()
        return not self._hastened and any(ends_in_s is not None and ends_in_s <= grace.longest_s for ends_in_s in ends)

    def _worth_waiting_s(self, grace: Grace, *, passed_s: float) -> float:
        """Seconds from now, as far as can be said now."""
        if self._hastened or self._somebody_merges():
            return 0.0
        left_s = 0.0
        for ends_in_s in self._others_end_in_s().values():
            until_s = grace.least_s
            if ends_in_s is None:
                until_s = max(until_s, grace.unknown_s)
            elif passed_s + ends_in_s <= grace.longest_s:
                until_s = grace.longest_s
            left_s = max(left_s, min(until_s, grace.longest_s) - passed_s)
        return left_s

    def _others_end_in_s(self) -> dict[PeerId, float | None]:
        """See `Membership.others_end_in_s`; without those that have ended, whether they have said so or not."""
        told = self._membership.others_end_in_s().items()
        return {peer: ends for peer, ends in told if self._membership.life_of(peer) not in self._have_ended}

    def _somebody_merges(self) -> bool:
        outlooks = self._membership.outlooks()
        merging = {peer for peer, outlook in outlooks.items() if outlook.ended and outlook.finishing}
        is_news = self._clock.now() - self._last_round_s > 2 * self._longest_nap_s
        return bool(merging - {self._membership.me} - (set() if is_news else set(self._last_members)))
