"""How a peer finds the others that are ready now: it asks the coordinator of the round for a group.

For every round the living peers rank themselves by (run, round, seed); whoever comes first collects the ready ones and
divides them, so that one round trip is enough when all are ready. Nobody is a server: the coordinator changes with
every round, and the next in rank stands in for a dead one. Owns the search of this peer and its end. How one
coordinator is asked is in `group_request`, what it does in `coordinator`; what a group does with itself is not known
here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from gossiptrain.config import GossipSettings
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.coordinator import Coordinator
from gossiptrain.swarm.group_request import GroupRequests
from gossiptrain.swarm.membership import Life, Membership
from gossiptrain.swarm.messages import Assignment, NoGroup, Purpose, Ready, Redirect, StaleRound
from gossiptrain.swarm.pending_round import Answer
from gossiptrain.swarm.promises import Promises

_logger = logging.getLogger(__package__)
MAX_REDIRECTS = 3
"""A peer that was sent on so often for one round stays where it is."""
FREE_TRIES = 4
"""Questions of one search for a group before it pauses between them."""


@dataclass(frozen=True)
class Aim:
    """What a peer wants of a group, see `messages.Ready`. patience_s None: as long as the settings say."""

    purpose: Purpose = "round"
    follow_up: bool = False
    patience_s: float | None = None


A_ROUND = Aim()
"""One of many."""


@dataclass(frozen=True)
class Readiness:
    """What a peer tells its coordinator of itself.

    samples: by which its contribution weighs, see `messages.Ready`. last_group: name of the one that it averaged in
    last. speeds: of the links of others, as `speeds` measures them. aim: what it wants of the group.
    """

    samples: int
    last_group: str = ""
    aim: Aim = A_ROUND
    speeds: Mapping[PeerId, float] = field(default_factory=dict)


@dataclass
class _Search:
    """The course of one search for a group."""

    tries: int = 0
    redirects: int = 0
    sent_to: PeerId | None = None
    no_redirect: bool = False
    silent: set[Life] = field(default_factory=set)
    """Coordinators that did not answer, or whose answers led nowhere, until they start anew."""


class Matchmaker:
    """Finds a group for this peer, and for others whenever it is their coordinator."""

    def __init__(
        self,
        admission: Admission,
        membership: Membership,
        coordinator: Coordinator,
        *,
        settings: GossipSettings,
        promises: Promises,
    ) -> None:
        """coordinator: this peer's own, for the rounds in which it comes first."""
        self._admission = admission
        self._clock = admission.transport.clock
        self._promises = promises
        self._membership = membership
        self._settings = settings
        self._minimum_members = settings.gossip_min_group_size
        self._coordinating = coordinator
        self._requests = GroupRequests(admission, membership, coordinator, minimum_members=self._minimum_members)
        self._left_out = False

    async def open(self) -> None:
        """From now on coordinates when asked."""
        await self._coordinating.open()

    async def find_group(self, readiness: Readiness) -> Assignment | None:
        """A group of peers that are ready now, this one included; None where there is none in time."""
        search = _Search()
        self._requests.begin()
        self._promises.kept_by(self._not_ready())
        try:
            async with self._clock.timeout(self._patience_s(readiness) + self._admission.timing.dial_timeout_s):
                while len(self._membership.trainers()) >= self._minimum_members and self._is_wanted(readiness.aim):
                    await self._pause(search)
                    ready = self._ready(readiness, no_redirect=search.no_redirect)
                    coordinator = search.sent_to or self._coordinating.first_in_rank(ready.round)
                    life = self._membership.life_of(coordinator)
                    answer = await self._ask_coordinator(coordinator, ready, search)
                    if isinstance(answer, Assignment):
                        self._take(answer)
                        return answer
                    if isinstance(answer, NoGroup):
                        self._left_out = answer.left_out
                        return None
                    self._go_on(search, life, answer)
        except TimeoutError:
            stalling = self._requests.stalling(patience_s=self._patience_s(readiness))
            if stalling is not None:
                _logger.info("the coordinator %s let this peer wait for longer than it may", stalling)
                self._promises.stalled_by(stalling)
        return None

    def withdraw(self) -> None:
        """Ends a search that is under way, unless it has found a group already: the others count on this peer then."""
        self._requests.withdraw()
        self._coordinating.withdraw(self._membership.me)

    def _is_wanted(self, aim: Aim) -> bool:
        """Whether the search is to go on; who has made its last step wants no ordinary round any more."""
        has_ended = self._membership.own.ends_in_s == 0
        return not self._requests.withdrawn and (aim.purpose == "end" or not has_ended)

    def _patience_s(self, readiness: Readiness) -> float:
        asked_s = readiness.aim.patience_s
        return self._settings.matchmaking_time if asked_s is None else asked_s

    def _not_ready(self) -> list[str]:
        """Peers that say now that they are not ready; what they say next is a new promise."""
        return [peer for peer, outlook in self._membership.outlooks().items() if outlook.ready_in_s != 0]

    def _ready(self, readiness: Readiness, *, no_redirect: bool) -> Ready:
        return Ready(
            round=self._membership.round,
            samples=readiness.samples,
            urgent=self._left_out,
            codec=self._settings.wire_codec,
            last_group=readiness.last_group,
            purpose=readiness.aim.purpose,
            follow_up=readiness.aim.follow_up,
            patience_s=self._patience_s(readiness),
            speeds={str(peer): speed for peer, speed in readiness.speeds.items()},
            no_redirect=no_redirect,
        )

    def _take(self, assignment: Assignment) -> None:
        self._left_out = False
        self._promises.broken_by(set(assignment.missed) - {self._membership.me})
        self._promises.kept_by(assignment.members)
        for peer in map(PeerId, assignment.silent):
            self._membership.suspect(peer)
        self._membership.reach_round(assignment.round + 1)

    async def _pause(self, search: _Search) -> None:
        """Whatever others answer, this peer does not ask without end and without a pause."""
        search.tries += 1
        if search.tries > FREE_TRIES:
            await self._clock.sleep(self._admission.timing.probe_timeout_s / 10)

    def _go_on(self, search: _Search, asked: Life, answer: StaleRound | Redirect | None) -> None:
        """Whom to ask next, after an answer without a group."""
        if answer is None:
            search.silent.add(asked)
            search.no_redirect = search.no_redirect or search.sent_to is not None
        search.sent_to = None
        if isinstance(answer, Redirect):
            search.redirects += 1
            # Whoever this peer has just found dead, or stalling, it does not try again on another's word.
            named = PeerId(answer.coordinator)
            hopeless = self._membership.has_lost(named) or self._promises.stalls(named)
            search.no_redirect = search.no_redirect or hopeless or search.redirects > MAX_REDIRECTS
            search.sent_to = None if search.no_redirect else named

    async def _ask_coordinator(self, coordinator: PeerId, ready: Ready, search: _Search) -> Answer | None:
        """One attempt; None where the coordinator did not answer and another one has to be asked."""
        if coordinator == self._membership.me:
            return await self._coordinating.await_assignment(coordinator, ready, stream=None)
        try:
            answer = await self._requests.ask(coordinator, ready, but=search.silent)
        except (ConnectionError, TimeoutError) as error:
            _logger.info("the coordinator %s gave no group: %r", coordinator, error)
            self._membership.suspect(coordinator)
            return None
        if isinstance(answer, StaleRound):
            if answer.round <= ready.round:
                self._membership.suspect(coordinator)
                return None
            self._membership.reach_round(answer.round)
        return answer
