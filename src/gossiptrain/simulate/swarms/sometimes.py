"""What a run ought to have exercised: events that must happen in some runs, or the runs prove little.

Owns their names and how each is recognised from what peers and the network show. Does not know how they are counted
over runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualTransport
from gossiptrain.simulate.swarms.peers import Part, SimulatedPeer
from gossiptrain.swarm.contribution import EXCHANGE
from gossiptrain.swarm.coordinator import READY
from gossiptrain.swarm.reporting import REPORT
from gossiptrain.swarm.state import STATE

RETRIED = "a round was tried again with fewer members and committed"
ABANDONED = "a round was abandoned"
WITHOUT_SOME = "a round committed and some members did not answer at its end"
WITH_LIAR = "a round with a lying member committed"
COORDINATOR_DIED = "a coordinator died while peers waited for their group"
MEMBER_DIED = "a member died in the middle of an exchange"
LEADER_DIED = "a leader died while members waited for its verdict"
DONOR_DIED = "a donor died while giving"
STATE_TAKEN = "a joiner took over a living peer's parameters"
RETURNED = "a peer that had died came back and took over parameters"
FOUNDED = "a peer began with its own parameters"
LOST_AND_MET = "a peer was lost and met again"
CUT_HEALED = "a cut healed that was longer than a lifetime"
ENDED_TOGETHER = "all ended with one model"
EVENTS = (
    RETRIED,
    ABANDONED,
    WITHOUT_SOME,
    WITH_LIAR,
    COORDINATOR_DIED,
    MEMBER_DIED,
    LEADER_DIED,
    DONOR_DIED,
    STATE_TAKEN,
    RETURNED,
    FOUNDED,
    LOST_AND_MET,
    CUT_HEALED,
    ENDED_TOGETHER,
)
SEVERAL = 2
"""Streams of a protocol that are open at whoever serves it to a group; who asks has one."""

Reach = Callable[[str], None]


def note_round(reach: Reach, part: Part, *, liars: Collection[str]) -> None:
    """A round has ended for one peer."""
    result = part.averaged.result
    if not result.committed:
        reach(ABANDONED)
        return
    if result.attempts > 1 and len(result.members) < len(part.averaged.samples):
        reach(RETRIED)
    if result.silent:
        reach(WITHOUT_SOME)
    if any(member in liars for member in result.members):
        reach(WITH_LIAR)


def note_state(reach: Reach, incarnation: int, donor: PeerId | None) -> None:
    """A peer has joined, with a donor's parameters or its own."""
    if donor is None:
        reach(FOUNDED)
        return
    reach(STATE_TAKEN)
    if incarnation > 1:
        reach(RETURNED)


def note_death(reach: Reach, peer: SimulatedPeer, transport: VirtualTransport) -> None:
    """A peer is about to die."""
    served = Counter(stream.protocol for stream in transport.open_streams)
    if served[READY] >= SEVERAL:
        reach(COORDINATOR_DIED)
    if served[EXCHANGE]:
        reach(MEMBER_DIED)
    if served[REPORT] >= SEVERAL:
        reach(LEADER_DIED)
    if served[STATE] and peer.has_joined:
        reach(DONOR_DIED)
