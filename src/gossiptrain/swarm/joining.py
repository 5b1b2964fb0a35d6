"""How a peer that begins comes to the parameters of the swarm: it takes them from a peer that has them, or founds.

Owns the choice of donors by what most peers say, and the agreement of peers that all begin at one moment: the one in
the middle of them, by the steps that each brings from an earlier run, begins with what it has, and the others take it
from there. A joiner that is given nothing waits and says so; it never brings parameters of its own into a swarm that
trains. Does not know how the parameters travel.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Awaitable, Callable, Mapping

from gossiptrain.core.averaging import Vector
from gossiptrain.net.transport import Clock, PeerId
from gossiptrain.swarm.download import Download, ReceivedState, UnlikeOthersError
from gossiptrain.swarm.membership import Membership

REFUSED_S = 1.0
"""After which a donor that gave nothing is asked again."""
WORD_S = 10.0
"""Period in which a peer that still waits says so."""
STEPS_AHEAD = 100_000
"""A donor may stand this far beyond twice what most peers say; nobody trains as fast within one transfer."""
PAUSE_FOR_EACH_S = 0.001
"""Before everybody is looked at again, for each that is known: of a thousand hundreds say something new in a second."""
ORPHANED_S = 30.0
"""A joiner that has seen a swarm begins with its own parameters only after so long without any of its peers."""


class Joining:
    """The beginning of one peer."""

    def __init__(
        self,
        membership: Membership,
        clock: Clock,
        download: Callable[[Vector, int, int], Download],
        *,
        settled_s: float,
        look_around: Callable[[], Awaitable[None]],
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        """download: of a fragment, with so many parameters, into a vector. settled_s: how long the joiners that are
        known must have been the same before one of them founds. look_around: looks for peers that are not known yet;
        awaited before this peer founds. report: is told, in words, what this peer waits for.
        """
        self._membership = membership
        self._clock = clock
        self._download = download
        self._settled_s = settled_s
        self._look_around = look_around
        self._report = report
        self._not_before_s: dict[PeerId, float] = {}

    async def take_state(
        self, into: Vector, *, fragment: int, parameters: int, met_before: bool
    ) -> ReceivedState | None:
        """Fills `into` with a fragment of a living peer's parameters. None where this peer is to begin with its own.

        Where it is None, or raises, `into` may not be used. parameters: so many values at its beginning are what rounds
        average; a strategy may keep more behind them. met_before: whether it was in the swarm in an earlier life;
        where it has brought no parameters from there, it is not the one that begins while nobody else is back.
        """
        download = self._download(into, fragment, parameters)
        joiners: frozenset[PeerId] = frozenset()
        settled_at_s = said_at_s = self._clock.now()
        if met_before and self._membership.own.step == 0:
            settled_at_s += ORPHANED_S
        looked_around = False
        while True:
            donors = self._donors()
            received = await self._ask(donors, download)
            if received is not None:
                return received
            now_s = self._clock.now()
            if joiners != (joiners := frozenset(self._membership.joiners())):
                settled_at_s = now_s
            if donors:
                settled_at_s, looked_around = now_s + ORPHANED_S, False
            if now_s - settled_at_s >= self._settled_s and self._founds():
                if looked_around:
                    return None
                looked_around = True
                await self._look_around()
                continue
            if now_s - said_at_s >= WORD_S:
                said_at_s = now_s
                self._report(self._waits_for(donors))
            await self._membership.wait_for_change(self._settled_s / 2)
            await self._clock.sleep(PAUSE_FOR_EACH_S * len(self._membership.live()))

    def _donors(self) -> list[PeerId]:
        """All that hold the swarm's parameters, in the order in which they are asked."""
        heartbeats = self._membership.live()
        steps = {peer: heartbeats[peer].step for peer in self._membership.trainers() if peer in heartbeats}
        return in_order(steps)

    async def _ask(self, donors: list[PeerId], download: Download) -> ReceivedState | None:
        heartbeats = self._membership.live()
        known_steps = [heartbeats[peer].step for peer in donors if peer in heartbeats]
        if not known_steps:
            return None
        now_s = self._clock.now()
        asked = [donor for donor in donors if now_s >= self._not_before_s.get(donor, -math.inf)]
        most_steps = 2 * statistics.median_low(known_steps) + STEPS_AHEAD
        return await download.run(asked, most_steps=most_steps, failed=self._note_failure)

    def _note_failure(self, donor: PeerId, error: OSError) -> None:
        if isinstance(error, TimeoutError):
            # Until it says something again nobody here waits for it, this peer's own greeting included.
            self._membership.suspect(donor)
        if isinstance(error, UnlikeOthersError):
            self._report(str(error))
        self._not_before_s[donor] = self._clock.now() + REFUSED_S

    def _founds(self) -> bool:
        """Whether, of all that begin, this is the one whose parameters the others take."""
        steps = {self._membership.me: self._membership.own.step, **self._membership.joiners()}
        return in_order(steps)[0] == self._membership.me

    def _waits_for(self, donors: list[PeerId]) -> str:
        if donors:
            return f"waiting for the swarm's parameters: none of {len(donors)} peers that have them can give them now"
        if joiners := self._membership.joiners():
            return f"waiting for the swarm's parameters: {len(joiners)} other peers begin as well"
        return "waiting for the swarm's parameters: no peer that has them answers"


def in_order(steps: Mapping[PeerId, int]) -> list[PeerId]:
    """Peers by how good a donor they make: the furthest of those that are not ahead of most, then who is next ahead.

    So a single peer that claims a step far beyond all others is nobody's first choice.
    """
    if not steps:
        return []
    middle = statistics.median_low(steps.values())
    return sorted(steps, key=lambda peer: (steps[peer] > middle, abs(steps[peer] - middle), peer))
