"""What a member shows of itself to those who watch, as typed messages.

Owns the words on the wire and their bounds. Nothing is decided by them. Does not know when they are said.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gossiptrain.net.framing import Message
from gossiptrain.swarm.messages import MAX_MEMBERS, Count, Finite

MAX_POINTS = 32
"""Of one history that a peer shows of itself."""
MAX_MEETINGS = 4
SHOWN_KEY_LENGTH = 8
"""Characters at the end of an id by which a peer is named where it is only shown."""

ShownKey = Annotated[str, StringConstraints(min_length=1, max_length=SHOWN_KEY_LENGTH, pattern=r"^[0-9A-Za-z_.-]+$")]
Points = Annotated[tuple[tuple[Count, Finite], ...], Field(max_length=MAX_POINTS)]


class StatusRequest(Message):
    """Somebody who watches the swarm asks a member what it shows of itself. Nothing is decided by the answer."""

    rounds: Count = 0
    """Of its meetings those are wanted that came after so many; 0: the histories as well."""


class Meeting(Message):
    """A round of the peer that shows it."""

    round: Count
    members: Annotated[tuple[ShownKey, ...], Field(max_length=MAX_MEMBERS)]
    disagreement: Annotated[Finite, Field(ge=0)] | None = None


class MemberStatus(Message):
    """What a member shows of itself to whoever watches."""

    loss: Finite | None
    """Its last training loss; None where its trainer tells none."""
    rounds: Count
    """That it has committed since it was started."""
    bytes_sent: Count
    """In those."""
    bytes_per_s: Annotated[Finite, Field(ge=0)]
    """In the last of them."""
    meetings: Annotated[tuple[Meeting, ...], Field(max_length=MAX_MEETINGS)] = ()
    """The newest of those that were wanted, oldest first."""
    losses: Points = ()
    """By step."""
    disagreements: Points = ()
    """By round."""
