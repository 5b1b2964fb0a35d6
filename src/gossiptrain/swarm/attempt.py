"""What an attempt of a round is, and how it can end for a member: with the average, or on whom it failed.

Owns the errors by which the parts of an exchange say on whom, what they come to when several are raised at once, and
the table of the members that are gone for the round. Does not know how values travel, nor what follows from a failure:
that is for the leader of the round to say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from gossiptrain.config import CodecName
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.coding import UnreadableError


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


class Standing(IntEnum):
    """How a member is gone, the strongest evidence last."""

    SILENT = 1
    """It does not answer."""
    ELSEWHERE = 2
    """It lives, and said that it takes no part any more: it has started anew, or given the round up."""
    HELD_UP = 3
    """It went on answering, but did not do its part."""


class Standings:
    """The members that are gone for one round; of what was found out of each of them, the strongest stays."""

    def __init__(self) -> None:
        self._found: dict[PeerId, Standing] = {}

    def note(self, peers: Iterable[PeerId], standing: Standing) -> None:
        """These are gone in this way."""
        self.update(dict.fromkeys(peers, standing))

    def update(self, found: Mapping[PeerId, Standing]) -> None:
        """Takes in what was found out of several members."""
        for peer, standing in found.items():
            self._found[peer] = max(standing, self._found.get(peer, standing))

    @property
    def gone(self) -> frozenset[PeerId]:
        """All that take no part in the round any more, in whatever way."""
        return frozenset(self._found)

    def those(self, standing: Standing) -> frozenset[PeerId]:
        """The ones that are gone in this way."""
        return frozenset(peer for peer, found in self._found.items() if found == standing)


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


class LinkFailedError(Exception):
    """A peer did not do its part; `surely` where it cannot have been waiting for somebody else."""

    def __init__(self, peer: PeerId, *, surely: bool) -> None:
        super().__init__(peer)
        self.peer = peer
        self.surely = surely


class GoneError(Exception):
    """Members do not answer any more, or know nothing of this round."""

    def __init__(self, found: Mapping[PeerId, Standing]) -> None:
        super().__init__(*found)
        self.found = found


class HaltedError(Exception):
    """The leader stopped the attempt."""


FAILURES = (LinkFailedError, GoneError, HaltedError, UnreadableError)
"""All by which an exchange can fail; everything else is an error of this program."""


@contextlib.contextmanager
def blaming(peer: PeerId) -> Iterator[None]:
    """For what may have to wait for `peer`, which may itself be waiting: where it fails, that is half the blame."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise LinkFailedError(peer, surely=False) from error


@dataclass
class Blame:
    """What the failures of one attempt come to; see `Outcome`."""

    gone: dict[PeerId, Standing] = field(default_factory=dict)
    suspects: set[PeerId] = field(default_factory=set)
    waited_for: set[PeerId] = field(default_factory=set)
    unreadable: bool = False

    def add(self, failure: Exception) -> None:
        """Takes in one of `FAILURES`, or a group of them."""
        if isinstance(failure, ExceptionGroup):
            for part in failure.exceptions:
                self.add(part)
        elif isinstance(failure, GoneError):
            self.gone.update(failure.found)
        elif isinstance(failure, LinkFailedError):
            (self.suspects if failure.surely else self.waited_for).add(failure.peer)
        elif isinstance(failure, UnreadableError):
            self.unreadable = True

    def outcome(self, *, bytes_sent: int) -> Outcome:
        """Of an attempt that failed so."""
        suspects = self.suspects | self.gone.keys()
        return Outcome(
            finished=False,
            bytes_sent=bytes_sent,
            suspects=tuple(sorted(suspects)),
            waited_for=tuple(sorted(self.waited_for - suspects)),
            gone=self.gone,
            unreadable=self.unreadable,
        )
