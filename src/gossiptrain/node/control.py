"""What trainer and node say to each other.

Owns the words. Does not know how they travel, nor what either side does when it hears them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.core.fragments import Fragments
from gossiptrain.events import PeerSeen
from gossiptrain.net.framing import Message
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.swarm.ending import Farewell
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.recipe_messages import Recipe


class Configure(Message):
    """The trainer's first word: what run this is and how to take part in it."""

    fingerprint: RunFingerprint
    gossip: GossipSettings
    network: NetworkSettings
    take_state: bool
    """Whether to take over the parameters of a living peer before the first round."""
    fragments: Fragments
    """How the model is cut; a round carries one of them."""
    parts: tuple[tuple[int, ...], ...] = ()
    """By fragment, the elements of the parts that guards look at."""
    takes_moments: bool = False
    """Whether to ask for the second moments of a living peer with its parameters."""
    state_vectors: int = 1
    """Flat vectors that a newcomer is given."""
    weighs_average: bool = True
    """Whether a group weighs its members by samples."""
    average_is_state: bool = False
    """Whether the average of a round is all that a newcomer needs."""
    recipe: Recipe | None = None
    """What newcomers are told of how this peer trains."""
    join: Annotated[str, Field(repr=False)] = ""
    """The link with which the peer was invited. Secret."""
    step: int = 0
    """Inner steps that the trainer has made in an earlier run."""
    ports: dict[str, int] = Field(default_factory=dict)
    """At which the node before listened, by kind, such as `ip4/tcp`."""
    must_join: bool = True
    """Whether it is an error when no initial peer answers."""

    @property
    def state_elements(self) -> int:
        """Most elements that a newcomer is given at once."""
        return self.state_vectors * self.fragments.longest

    @property
    def state_lengths(self) -> tuple[int, ...]:
        """Elements of what a newcomer is given of each fragment."""
        return tuple(self.state_vectors * length for length in self.fragments.lengths)


class Progress(Message):
    """Where the trainer stands."""

    step: int
    ready_in_s: float | None
    ends_in_s: float | None = None
    """0 once it has made its last step. A round that has no group yet is then given up."""
    loss: float | None = None
    """Of the last step, where it is known: for whoever watches the swarm."""


class SnapshotTaken(Message):
    """The snapshot is in shared memory, and belongs to the node until `FragmentWanted` or `RoundEnded`."""

    samples: int
    fragment: int = 0
    """Which part of the model it is."""
    radii: tuple[float, ...] = ()
    """How far contributions of others may be from it, in each part; empty where as far as they are."""
    asked: bool = False
    """Whether it answers `FragmentWanted`."""
    everyone: bool = False
    """Whether the round is to be with all peers that are there."""
    last: Farewell | None = None
    """Given once the trainer has made its last step."""


class SnapshotRefused(Message):
    """Answers `FragmentWanted` where the parameters are not to be shown."""


class AverageRefused(Message):
    """The average of the round that committed last was not taken as it is: nobody is to begin with it."""


class Hasten(Message):
    """Others are not waited for any longer: the last round is to be made now."""


class StateRead(Message):
    """The state that arrived has been taken over, and its memory is free."""


class StateTaken(Message):
    """The state that was asked for is in shared memory."""

    step: int
    found: bool = True
    """False where second moments were asked for, and there are none."""


class Leave(Message):
    """Say goodbye and end."""


class NodeReady(Message):
    """The node is reachable. Its last word before is that it lives; its next one tells how joining went."""

    peer_id: str
    addresses: tuple[str, ...]
    daemon_pid: int


class Joining(Message):
    """Said now and then while the node waits for the swarm's parameters."""

    waits_for: str


class Reached(Message):
    """What the node has found out of whether others can dial it, for a person."""

    text: str
    warning: bool


class StateArrived(Message):
    """A fragment of a living peer's parameters is in the shared `state` vector, the trainer's until `StateRead`."""

    fragment: int
    step: int
    moments: bool = False
    """Whether it is second moments, which come after all parameters."""


class Joined(Message):
    """The swarm has been met. `received`: whose parameters have arrived, if anybody's."""

    received: ReceivedState | None
    has_moments: bool | None = None
    """Whether all second moments have arrived; None where none were asked for."""
    peers: int
    """Living peers, this one included."""
    trainers: int
    """Those of them that hold the swarm's parameters."""


class PeerChanged(Message):
    """Somebody came, has other addresses now, went, was lost, holds the swarm's parameters now, or is about to finish
    and wants to merge."""

    peer: str
    change: Literal["joined", "moved", "left", "lost", "ready", "finishing"]
    addresses: tuple[str, ...]
    peers: int
    trainers: int
    round: int = 0
    """Which one the peer would take part in next."""


class SwarmSeen(Message):
    """All living peers as they are now. Said about once a second where the trainer watches."""

    peers: tuple[PeerSeen, ...]


class RoundEnded(Message):
    """The round for the last snapshot is over. Where it committed, the average is in shared memory."""

    averaged: AveragedRound | None
    """None where no group was found."""
    paths: dict[str, str] = Field(default_factory=dict)
    """By member, over what this peer's bytes went to it: `direct` or `libp2p`."""

    @property
    def committed(self) -> bool:
        """Whether there is an average to take."""
        return self.averaged is not None and self.averaged.result.committed


class NextRound(Message):
    """Which round is next. Said only where rounds carry fragments."""

    number: int


class GroupFound(Message):
    """The round has its group, and takes from now on as long as the links need."""


class FragmentWanted(Message):
    """The round that is under way carries another fragment now: take its snapshot at the next step boundary."""

    round: int
    fragment: int
    samples: tuple[int, ...] | None = None
    """Where the fragment before has committed: of each member. Its average is in shared memory, to be taken first."""


class StateWanted(Message):
    """A joiner asks: copy a fragment of the parameters into the shared `state` vector at the next step boundary."""

    fragment: int = 0
    moments: bool = False
    """Whether its second moments are wanted instead."""


class Alive(Message):
    """Said every second, so that a frozen node is told from a silent one."""


class NodeFailed(Message):
    """The node cannot go on; an error of `gossiptrain.errors` by the name of its class."""

    error: str
    what: str
    cause: str
    remedy: str


class NodeDown(Message):
    """Never sent: the handle's own word that the node died or froze."""

    reason: str


class NodeRestarted(Message):
    """Never sent: the handle has started another node in place of the one that went down."""

    pid: int


TRAINER_SAYS: tuple[type[Message], ...] = (
    Configure,
    Progress,
    SnapshotTaken,
    SnapshotRefused,
    AverageRefused,
    Hasten,
    StateRead,
    StateTaken,
    Leave,
)
NODE_SAYS: tuple[type[Message], ...] = (
    NodeReady,
    Joining,
    Reached,
    StateArrived,
    Joined,
    PeerChanged,
    SwarmSeen,
    NextRound,
    GroupFound,
    FragmentWanted,
    RoundEnded,
    StateWanted,
    Alive,
    NodeFailed,
)
