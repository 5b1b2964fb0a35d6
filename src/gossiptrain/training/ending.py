"""The end of a membership: the last rounds, with all others that end at about the same time.

Owns their course in the training thread, and what is told of how they went. Who is waited for is decided in the node.
Does not know what ended the training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gossiptrain.swarm.ending import Farewell, FarewellDeadline
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.training.session import Session

POLL_S = 0.2


@dataclass(frozen=True)
class Ended:
    """How a membership ended.

    merged_with: other members of the last round; empty where there was none. together: whether all others that had
    ended, as far as this peer knows, were in it; they held the same model then, bit by bit. Those of them that expected
    still others average once more with these. follow_up: whether all of them expect one more round.
    """

    merged_with: tuple[str, ...] = ()
    together: bool = False
    follow_up: bool = False

    @property
    def merged(self) -> bool:
        """Whether there was a last round."""
        return bool(self.merged_with)


def end(session: Session, farewell: Farewell, *, until: Callable[[], bool] = lambda: False) -> Ended:
    """Makes the last rounds. `until`: asked several times a second; where it is true, others are not waited for."""
    session.end_training()
    course = _Course(session, farewell, until)
    course.hear_until_round_is_over()
    ended = Ended()
    while session.contributing and not course.is_over and not session.is_alone and not ended.together:
        if not session.node_is_up:
            session.inbox.hear_one(timeout_s=POLL_S)
            continue
        averaged = course.last_round()
        if averaged is None and session.node_is_up:
            break  # Nobody came in all that time.
        if averaged is not None and averaged.result.committed:
            others = tuple(member for member in averaged.result.members if member != session.peer_id)
            ended = Ended(others, together=averaged.ended, follow_up=averaged.follow_up)
    return ended


class _Course:
    """The waiting of one end, and when it is over."""

    def __init__(self, session: Session, farewell: Farewell, until: Callable[[], bool]) -> None:
        self._session = session
        self._deadline = FarewellDeadline(farewell, now_s=time.monotonic())
        self._until = until
        self._hastened = False

    @property
    def is_over(self) -> bool:
        return self._deadline.is_over(time.monotonic(), under_way=self._session.has_group)

    def last_round(self) -> AveragedRound | None:
        """One attempt. None where it found no group, or the node is lost, or does not answer in time."""
        self._session.results.last = None
        self._session.rounds.begin()
        self.hear_until_round_is_over(self._deadline.left(time.monotonic()))
        return self._session.results.last

    def hear_until_round_is_over(self, last: Farewell | None = None) -> None:
        session = self._session
        while session.rounds.in_flight and session.contributing and not self.is_over:
            session.tell_snapshot(last=last)
            session.inbox.hear_one(timeout_s=POLL_S)
            if not self._hastened and self._until():
                self._hastened = True
                self._deadline.hasten(time.monotonic())
                session.hasten()
