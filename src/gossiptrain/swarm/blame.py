"""On whom an attempt of an exchange failed.

Owns the errors by which the parts of an exchange say so, and what they come to when several are raised at once. Does
not know what follows from it; that is for the leader of the round to say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.attempt import Outcome
from gossiptrain.swarm.coding import UnreadableError
from gossiptrain.swarm.standing import Standing


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
