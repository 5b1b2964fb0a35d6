"""What peers of a swarm say to each other, as typed messages: who they are, and all about rounds.

Owns the words on the wire and their bounds. What joiners are told is in `state_messages` and `recipe_messages`, what
those hear that watch in `status_messages`. Does not know when they are said. Tensors are not messages: they follow an
`ExchangeHeader` as raw chunks whose lengths both sides know.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gossiptrain.config import MOST_FRAGMENTS, CodecName
from gossiptrain.core.fingerprint import CommonSettings, RunFingerprint
from gossiptrain.net.framing import Message
from gossiptrain.swarm.access.private import ANSWER_BYTES, KNOCK_BYTES, Reason
from gossiptrain.swarm.access.revocations import LIMIT_BYTES as REVOCATIONS_LIMIT_BYTES
from gossiptrain.swarm.versions import KEY_LENGTH, Version

MAX_MEMBERS = 64
MAX_RECORDS = 64
"""Heartbeats in one message."""
MAX_KNOWN = 1024
"""Members that are remembered, living or not."""
MAX_ADDRESSES = 16
BEATS_LIMIT_BYTES = 168 << 10
"""Largest message with heartbeats: `MAX_RECORDS` of peers with `MAX_ADDRESSES` long addresses each."""
MAX_COUNT = 2**53

PeerText = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[0-9A-Za-z_.-]+$")]
PeerKey = Annotated[str, StringConstraints(min_length=1, max_length=KEY_LENGTH, pattern=r"^[0-9A-Za-z_.-]+$")]
AddressText = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^/[!-~]+$")]
ShortText = Annotated[str, StringConstraints(max_length=256)]
HexText = Annotated[str, StringConstraints(max_length=256, pattern=r"^[0-9a-f]*$")]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
RevocationBytes = Annotated[bytes, Field(max_length=REVOCATIONS_LIMIT_BYTES)]
Speed = Annotated[Finite, Field(ge=0, le=1)]
Purpose = Literal["round", "merge", "end"]
"""`round`: one of many. `merge`: with everyone. `end`: with everyone, by a peer that has made its last step."""
Members = Annotated[tuple[PeerText, ...], Field(min_length=1, max_length=MAX_MEMBERS)]


class Heartbeat(Message):
    """What a peer says of itself. Only its own signature makes it count; relays cannot change it."""

    peer: PeerText
    run_key: HexText
    incarnation: Count
    """Grows with every start of the same identity."""
    counter: Count
    """Grows with every heartbeat. A peer lives while others see it grow; no clock is compared."""
    role: Literal["trainer", "observer"]
    addresses: Annotated[tuple[AddressText, ...], Field(max_length=MAX_ADDRESSES)]
    round: Count
    """The round that this peer would take part in next."""
    step: Count
    ready_in_s: Annotated[Finite, Field(ge=0)] | None
    """Seconds after which the peer expects to be ready for a round; None while it cannot say."""
    joined: bool
    """Whether the peer holds the parameters of the swarm. Only then it takes part in rounds and can give its state."""
    finishing: bool
    """Whether the peer wants a round with everyone now; others then become ready at once."""
    ends_in_s: Annotated[Finite, Field(ge=0)] | None = None
    """Seconds after which the peer expects to have trained all it will; 0 once it has, None while it cannot say."""
    carries: bool = False
    """Whether others can dial this peer, wherever they are, and it carries for those that nobody can dial."""
    leaving: bool

    def newer_than(self, other: Heartbeat) -> bool:
        """Whether this was said after `other`, by the same peer."""
        return self.version > other.version

    @property
    def version(self) -> Version:
        """By which what a peer says is known to be newer than what it said before."""
        return self.incarnation, self.counter

    @property
    def trains(self) -> bool:
        """Whether the peer takes part in rounds."""
        return self.role == "trainer" and self.joined

    @property
    def is_joining(self) -> bool:
        """Whether the peer will take part in rounds, once it holds the parameters of the swarm."""
        return self.role == "trainer" and not self.joined


class SignedHeartbeat(Message):
    """A heartbeat as it travels: its encoded text and the peer's signature over it."""

    body: Annotated[str, StringConstraints(max_length=8192)]
    signature: HexText


class HeartbeatSummary(Message):
    """Begins an exchange of heartbeats: the caller's own, and which ones of others it has."""

    own: SignedHeartbeat
    versions: Annotated[dict[PeerKey, tuple[Count, Count]], Field(max_length=MAX_KNOWN)]
    """Of its living members, by the end of their ids: incarnation and counter of what it heard of them last. None, with
    `most_unknown` 0, where the two only make themselves known to each other."""
    most_unknown: Count
    """Of how many others, which it does not know, it is to be told; who has many to try is told of few more."""
    revocations: Count = 0
    """Number of the newest list of revocations that it knows; 0 for none."""


class HeartbeatReply(Message):
    """The answer: heartbeats that the caller lacks, with the answering side's own first."""

    records: Annotated[tuple[SignedHeartbeat, ...], Field(min_length=1, max_length=MAX_RECORDS)]
    wanted: Annotated[tuple[PeerKey, ...], Field(max_length=MAX_RECORDS)]
    """Whose heartbeats the answering side lacks. Where there are any, the caller ends the exchange with a batch."""
    revocations: RevocationBytes = b""
    """A newer list of revocations than the caller's, if the answering side knows one."""
    wants_revocations: bool = False
    """Whether the caller knows a newer one, with which it then ends the exchange."""


class HeartbeatBatch(Message):
    """Heartbeats that the other side has asked for, with the sender's own first."""

    records: Annotated[tuple[SignedHeartbeat, ...], Field(max_length=MAX_RECORDS)]
    revocations: RevocationBytes = b""


class Knock(Message):
    """The first word on every acquaintance. It says nothing of a run, and to a stranger nothing at all."""

    protocol: Count
    kind: Literal["open", "private", "visitor"]
    """The swarm of the caller; a visitor takes part in none."""
    shown: Annotated[bytes, Field(max_length=KNOCK_BYTES)] = b""
    """Of a private swarm: the caller's credential, sealed; see `access.private`."""


class KnockReply(Message):
    """The answer: whether the caller may go on to say `Hello`."""

    protocol: Count
    kind: Literal["open", "private", "helper"]
    """The swarm of the answering side; a helper takes part in none."""
    refusal: Literal["", "version", "kind", Reason] = ""
    """Why not. Only who knows the secret of a private swarm is told more than that it is one."""
    shown: Annotated[bytes, Field(max_length=ANSWER_BYTES)] = b""
    """Of a private swarm that lets the caller in: the credential of the answering side, sealed."""


class Hello(Message):
    """Which run the caller takes part in, once both sides know that they may tell."""

    protocol: Count
    run: ShortText
    task: ShortText
    model: HexText
    elements: Count
    strategy: ShortText
    gossip_min_group_size: Annotated[int, Field(ge=0, le=MAX_MEMBERS)] = 2
    grouping: ShortText = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    fragments: Annotated[int, Field(ge=1, le=MOST_FRAGMENTS)] = 1
    guard: ShortText = "off"
    helper: bool = False
    """Whether the speaker only helps others find each other and trains nothing."""

    @property
    def fingerprint(self) -> RunFingerprint:
        """The run that the other side takes part in."""
        common = CommonSettings(self.gossip_min_group_size, self.grouping, self.seed, self.fragments, self.guard)
        return RunFingerprint(self.protocol, self.run, self.task, self.model, self.elements, self.strategy, common)


class Welcome(Message):
    """The answer to `Hello`: who the answering side is, and whether it takes the other one in."""

    hello: Hello
    accepted: bool


class Ready(Message):
    """A peer asks the coordinator of a round for a group."""

    round: Count
    samples: Count
    """By which its contribution weighs: seen since its last round, or where peers weigh their own steps in a usual
    one."""
    urgent: bool
    """Whether it was left out of the last round it was ready for."""
    codec: CodecName = "fp32"
    """How it would like values to be coded."""
    last_group: HexText = ""
    """Name of the round in whose group it averaged last; those who were together then are divided among new groups."""
    speeds: Annotated[dict[PeerText, Speed], Field(max_length=MAX_MEMBERS)] = Field(default_factory=dict)
    """How fast it has seen the links of others to be, relative to the fastest of them."""
    purpose: Purpose = "round"
    """What it wants of the group. Where somebody wants more than a round, all that are ready make one group."""
    follow_up: bool = False
    """Whether it will take part in one more round after its end, to fit running statistics."""
    patience_s: Annotated[Finite, Field(ge=0, le=86_400)] = 5.0
    """How long it will wait for stragglers."""
    no_redirect: bool = False
    """Whether it could not reach the coordinator that it was sent to, and must not be redirected again."""


class Withdraw(Message):
    """A peer that waits for a group wants none any more. The answer is still a group where it was formed before."""


class Waiting(Message):
    """Sent while an answer takes time, so that the other side sees the difference between slow and dead."""


class StaleRound(Message):
    """The round asked for is over; the next one is this."""

    round: Count


class Redirect(Message):
    """Another peer coordinates this round: one that the peer that was asked has met, and the asking one perhaps not."""

    coordinator: PeerText


class NoGroup(Message):
    """Not enough peers became ready in time."""

    left_out: bool
    """Whether others did find a group, without this peer."""


class Assignment(Message):
    """A group: its members in an order that all of them share, and the weights of their contributions."""

    round_id: HexText
    round: Count
    members: Members
    samples: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MAX_MEMBERS)]
    speeds: Annotated[tuple[Annotated[int, Field(ge=1, le=255)], ...], Field(min_length=1, max_length=MAX_MEMBERS)]
    """Of their links, relative to each other: who is faster reduces more."""
    codec: CodecName = "fp32"
    """How all of them code their values: as all of them would like it, or plainly."""
    final: bool = False
    """Whether all of them have made their last step, so that whoever commits this round ends with what all hold."""
    follow_up: bool = False
    """Whether all of them will take part in one more round, to fit running statistics."""
    missed: Annotated[tuple[PeerText, ...], Field(max_length=MAX_MEMBERS)] = ()
    """Peers that said they were ready and were waited for in vain; nobody need wait for them again."""
    silent: Annotated[tuple[PeerText, ...], Field(max_length=MAX_MEMBERS)] = ()
    """Those of them that do not answer either; they count as gone until their next heartbeat."""


class ExchangeHeader(Message):
    """Opens a stream of contributions: the sender's chunks of the receiver's slice follow, in order."""

    round_id: HexText
    attempt: Annotated[int, Field(ge=0, le=MAX_MEMBERS)]


class Report(Message):
    """A member tells the leader how its attempt went, and waits on the same stream for the verdict."""

    round_id: HexText
    attempt: Annotated[int, Field(ge=0, le=MAX_MEMBERS)]
    members: Members
    """The members of the attempt that is reported."""
    finished: bool
    digest: HexText = ""
    squared_distance: Annotated[Finite, Field(ge=0)] = 0.0
    """Of the reporter's slice: sum over members of |contribution - average|^2."""
    squared_mean: Annotated[Finite, Field(ge=0)] = 0.0
    suspects: Annotated[tuple[PeerText, ...], Field(max_length=MAX_MEMBERS)] = ()
    waited_for: Annotated[tuple[PeerText, ...], Field(max_length=MAX_MEMBERS)] = ()
    unreadable: bool = False
    """Whether the reporter ended a first attempt because values, its own or another's, cannot be told in its codec."""


class Probe(Message):
    """Somebody asks a silent member whether it lives. With `stop` its leader ends its attempt, which cannot succeed."""

    round_id: HexText
    attempt: Annotated[int, Field(ge=0, le=MAX_MEMBERS)]
    stop: bool = False


RoundState = Literal["unknown", "running", "reported", "committed", "over"]


class ProbeReply(Message):
    """Where a member stands in that attempt.

    unknown: it knows of no such round, because it has started anew. running: it exchanges. reported: it waits for a
    verdict. committed: it has taken over the average. over: it has given the round up.
    """

    state: RoundState


class Commit(Message):
    """Everyone holds the complete average: take it over."""

    disagreement: Annotated[Finite, Field(ge=0)] | None
    """Relative disagreement of the members before the round; None where the average is zero."""
    silent: Annotated[tuple[PeerText, ...], Field(max_length=MAX_MEMBERS)] = ()
    """Members of its first attempt that did not answer any more, so that nobody waits for them in the next round. The
    average holds the contributions of those that fell silent after the last attempt."""
    held_up: Annotated[tuple[PeerText, ...], Field(max_length=MAX_MEMBERS)] = ()
    """Members that answered, but were waited for in vain; nobody need let them lead."""


class Retry(Message):
    """Do it again, with these members."""

    attempt: Annotated[int, Field(ge=0, le=MAX_MEMBERS)]
    members: Members


class Abandon(Message):
    """Leave everything as it was."""

    reason: ShortText
