"""What passes from one trainer to another when a peer joins: parameters, and second moments of its optimizer.

Owns which of them a joiner takes over, and how many bytes came of it. They lie in the memory that is shared with the
node; who the other side is, and how they travel, is not known here.
"""

from __future__ import annotations

from gossiptrain import events
from gossiptrain.node import control
from gossiptrain.node.memory import ELEMENT_BYTES, SharedVectors
from gossiptrain.training import news
from gossiptrain.training.bus import EventBus
from gossiptrain.training.model.moments import SecondMoments
from gossiptrain.training.rounds import LocalProgress, Rounds


class Takeover:
    """Both sides of it, fragment by fragment: this peer joins once, and gives as often as others do."""

    def __init__(
        self, rounds: Rounds, moments: SecondMoments, progress: LocalProgress, *, memory: SharedVectors
    ) -> None:
        self._rounds = rounds
        self._moments = moments
        self._progress = progress
        self._memory = memory
        self._takes_parameters = False
        self._moments_bytes = 0
        """Of second moments that were taken over."""

    def give(self, wanted: control.StateWanted) -> control.StateTaken:
        """Writes a fragment for a joiner into the shared memory."""
        found = True
        if wanted.moments:
            found = self._moments.write(self._memory.state, fragment=wanted.fragment)
        else:
            self._rounds.replica.write_state(self._memory.state, fragment=wanted.fragment)
        return control.StateTaken(step=self._progress.step, found=found)

    def take(self, arrived: control.StateArrived) -> control.StateRead:
        """Takes over a fragment that lies in the shared memory, where this peer is behind its donor."""
        if arrived.fragment == 0 and not arrived.moments:
            # A peer that resumes from its own checkpoint keeps what it has, unless the swarm is ahead of it.
            self._takes_parameters = arrived.step >= self._progress.step
        if self._takes_parameters and arrived.moments:
            self._take_moments(arrived)
        elif self._takes_parameters:
            self._rounds.replica.read_state(self._memory.state, fragment=arrived.fragment)
        return control.StateRead()

    def finish(self, joined: control.Joined, bus: EventBus) -> None:
        """Everything that this peer was to be given has arrived: it goes on from there, and says so."""
        received = joined.received
        if received is None:
            return
        if self._takes_parameters:
            self._progress.step = received.step
            self._rounds.begin_anew()
            news.tell_joining(bus, received, moments_bytes=self._moments_bytes)
            if joined.has_moments is not None and not self._moments_bytes:
                bus.emit(events.Notice(message=news.NO_MOMENTS))
        self._memory.forget_state()

    def _take_moments(self, arrived: control.StateArrived) -> None:
        if self._moments.read(self._memory.state, fragment=arrived.fragment, step=arrived.step):
            self._moments_bytes += ELEMENT_BYTES * self._rounds.replica.fragments.lengths[arrived.fragment]
