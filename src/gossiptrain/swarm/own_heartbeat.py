"""What this peer says of itself, signed.

Owns the state that others are told, the number of the round that goes along with theirs, and the heartbeat that carries
both. Knows the others only by what they say; does not know how a heartbeat reaches them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gossiptrain.net.framing import encode_message
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.swarm.intake import as_count, as_seconds, farthest_round, tellable_addresses
from gossiptrain.swarm.member_table import MemberTable
from gossiptrain.swarm.messages import Heartbeat, SignedHeartbeat

Role = Literal["trainer", "observer"]


@dataclass(frozen=True)
class OwnState:
    """What this peer tells others of itself."""

    round: int = 0
    step: int = 0
    ready_in_s: float | None = None
    joined: bool = True
    finishing: bool = False
    ends_in_s: float | None = None
    carries: bool = False


@dataclass(frozen=True)
class Identification:
    """What of a heartbeat stays the same while this peer runs. incarnation: see `messages.Heartbeat`."""

    run_key: str
    incarnation: int
    role: Role


class OwnHeartbeat:
    """The heartbeat of this peer; every `beat` makes it a new one."""

    def __init__(
        self, transport: Transport, table: MemberTable, identification: Identification, *, lifetime_s: float
    ) -> None:
        self._transport = transport
        self._table = table
        self._identification = identification
        self._lifetime_s = lifetime_s
        self._counter = 0
        self._leaving = False
        self._state = OwnState()
        self.record = self._sign()
        """As others get it now."""

    @property
    def peer(self) -> PeerId:
        """This peer."""
        return self._transport.peer_id

    @property
    def state(self) -> OwnState:
        """What this peer says of itself."""
        return self._state

    @property
    def trains(self) -> bool:
        """Whether this peer holds the swarm's parameters and takes part in rounds."""
        return self._identification.role == "trainer" and self._state.joined

    @property
    def round(self) -> int:
        """The number of the next round, as far as any living peer knows and most of them make it believable."""
        farthest = self._farthest_round()
        return max(number for number in (0, self._state.round, *self._table.rounds()) if number <= farthest)

    def believes(self, number: int) -> bool:
        """Whether the next round can have this number, going by what the living peers say."""
        return number <= self._farthest_round()

    def reach_round(self, number: int) -> None:
        """Notes that the round before `number` is over, where that can be."""
        number = as_count(number)
        if number > self._state.round and self.believes(number):
            self.describe(replace(self._state, round=number))

    def describe(self, state: OwnState) -> None:
        """Changes what this peer says of itself from now on, to whoever asks or hears its next heartbeat."""
        self._state = replace(
            state,
            round=as_count(state.round),
            step=as_count(state.step),
            ready_in_s=as_seconds(state.ready_in_s),
            ends_in_s=as_seconds(state.ends_in_s),
        )
        self.beat()

    def leave(self) -> None:
        """The next heartbeats say goodbye."""
        self._leaving = True

    def beat(self) -> None:
        """Makes a newer heartbeat of what this peer says now."""
        # Goes along with the others, and comes back to them where it was led astray while it knew only liars.
        self._state = replace(self._state, round=self.round)
        self._counter += 1
        self.record = self._sign()

    def _farthest_round(self) -> int:
        heard = self._table.rounds(of_trainers=True)
        return farthest_round(self._state.round, heard, lifetime_s=self._lifetime_s)

    def _sign(self) -> SignedHeartbeat:
        heartbeat = Heartbeat(
            peer=self.peer,
            run_key=self._identification.run_key,
            incarnation=self._identification.incarnation,
            counter=self._counter,
            role=self._identification.role,
            addresses=tellable_addresses(self._transport.addresses),
            round=self._state.round,
            step=self._state.step,
            ready_in_s=self._state.ready_in_s,
            joined=self._state.joined,
            finishing=self._state.finishing,
            ends_in_s=self._state.ends_in_s,
            carries=self._state.carries,
            leaving=self._leaving,
        )
        return signed(heartbeat, self._transport)


def signed(heartbeat: Heartbeat, transport: Transport) -> SignedHeartbeat:
    """As it travels, signed by the peer of that transport."""
    body = encode_message(heartbeat).decode()
    return SignedHeartbeat(body=body, signature=transport.sign(body.encode()).hex())
