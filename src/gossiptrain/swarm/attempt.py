"""What an attempt of a round is, and how it can end for a member. Does not know how values travel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gossiptrain.config import CodecName
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.standing import Standing


@dataclass(frozen=True)
class Attempt:
    """Which attempt of which round, and by whom; `members`, `samples`, `speeds` in the order all of them share.

    speeds: of the members' links, relative to each other.
    """

    round_id: str
    number: int
    members: tuple[PeerId, ...]
    samples: tuple[int, ...]
    speeds: tuple[int, ...]
    codec: CodecName = "fp32"

    def among(self, members: tuple[PeerId, ...], *, number: int) -> Attempt:
        """A later attempt of the same round, by some of the members."""
        kept = [self.members.index(member) for member in members]
        return replace(
            self,
            number=number,
            members=members,
            samples=tuple(self.samples[index] for index in kept),
            speeds=tuple(self.speeds[index] for index in kept),
        )


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended for this member.

    suspects: peers whose contribution did not come or was not finite. gone: those of them that do not answer either, or
    know nothing of the round. waited_for: peers that did not move, but perhaps only because they were themselves
    waiting. unreadable: whether this member ended it because it could not read what another one sent it, see
    `near_coding`.
    """

    finished: bool
    digest: str = ""
    squared_distance: float = 0.0
    squared_mean: float = 0.0
    bytes_sent: int = 0
    suspects: tuple[PeerId, ...] = ()
    waited_for: tuple[PeerId, ...] = ()
    gone: Mapping[PeerId, Standing] = field(default_factory=dict)
    unreadable: bool = False
