"""What a node gives to joiners: the last average, or a snapshot that its trainer takes; and second moments.

Owns which of the two is given, and the shared vector `state` while it is needed. Does not know who asks, nor how it
travels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gossiptrain.core.averaging import Vector
from gossiptrain.core.partition import Slice
from gossiptrain.node import control
from gossiptrain.node.control_socket import NodeSide
from gossiptrain.node.forecast import PERIODS, PROGRESS_S, Forecast
from gossiptrain.node.memory import SharedVectors
from gossiptrain.swarm.last_average import HeldAverage
from gossiptrain.swarm.state import Donation

KEPT_S = 10.0
"""How long the pages of one fragment are kept for the next one: to take them anew makes a step wait twice as long."""
COPIED_ELEMENTS = 1 << 20
"""Copied at once; heartbeats and rounds go on in between."""


class Donor:
    """The giving side of one node. One donation at a time: the next one begins when the last was released."""

    def __init__(
        self,
        trainer: NodeSide,
        memory: SharedVectors,
        forecast: Forecast,
        *,
        lengths: Sequence[int],
        moments: Sequence[int] = (),
        average_is_state: bool,
    ) -> None:
        """lengths, moments: elements of what is given of each fragment, and of its second moments. average_is_state:
        whether the average of a round is all that a joiner needs."""
        self._lengths = lengths
        self._moments = moments
        self._forgetting: asyncio.TimerHandle | None = None
        self._trainer = trainer
        self._memory = memory
        self._forecast = forecast
        self._average_is_state = average_is_state
        self._state_taken: asyncio.Future[control.StateTaken] = asyncio.get_running_loop().create_future()

    def state_taken(self, message: control.StateTaken) -> None:
        """The trainer has taken the snapshot that it was asked for."""
        if not self._state_taken.done():
            self._state_taken.set_result(message)

    async def donate(self, held: HeldAverage | None, fragment: int) -> Donation | None:
        """See `state.Donate`. None where the trainer is silent for too long, and does not answer this question either,
        and where there is no such fragment.

        The strategies whose peers keep more than their parameters have a snapshot taken. Between two rounds its first
        vector is the average all the same, and only the rest of it this peer's own.
        """
        if fragment >= len(self._lengths):
            return None
        self._keep_pages()
        vector = self._memory.state[: self._lengths[fragment]]
        if held is not None and self._average_is_state and not self._trainer_is_silent():
            await self._copy(held)
            return Donation(vector, held.step, held, release=self._release)
        taken = await self._snapshot(vector, control.StateWanted(fragment=fragment))
        return None if taken is None else Donation(vector, taken.step, held, release=self._release)

    async def donate_moments(self, fragment: int) -> Donation | None:
        """See `state.DonateMoments`. None where the trainer is silent, too."""
        if fragment >= len(self._moments):
            return None
        self._keep_pages()
        vector = self._memory.state[: self._moments[fragment]]
        taken = await self._snapshot(vector, control.StateWanted(fragment=fragment, moments=True))
        if taken is None or not taken.found:
            return None
        return Donation(vector, taken.step, release=self._release)

    def _keep_pages(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()

    def _release(self) -> None:
        if len(self._lengths) == 1:
            self._memory.forget_state()
        else:
            self._forgetting = asyncio.get_running_loop().call_later(KEPT_S, self._memory.forget_state)

    async def _copy(self, held: HeldAverage) -> None:
        for part in Slice(0, len(held.vector)).chunks(COPIED_ELEMENTS):
            self._memory.state[part.start : part.stop] = held.vector[part.start : part.stop]
            await asyncio.sleep(0)

    async def _take_pages(self, vector: Vector) -> None:
        """The trainer, which is to write there, would have its step wait for them."""
        for part in Slice(0, len(vector)).chunks(COPIED_ELEMENTS):
            vector[part.start : part.stop] = 0.0
            await asyncio.sleep(0)

    async def _snapshot(self, vector: Vector, wanted: control.StateWanted) -> control.StateTaken | None:
        await self._take_pages(vector)
        self._state_taken = asyncio.get_running_loop().create_future()
        self._trainer.send(wanted)
        asked_s = asyncio.get_running_loop().time()
        while not (self._trainer_is_silent() and asyncio.get_running_loop().time() - asked_s >= PERIODS * PROGRESS_S):
            await asyncio.wait([self._state_taken], timeout=PROGRESS_S)
            if self._state_taken.done():
                return self._state_taken.result()
        return None

    def _trainer_is_silent(self) -> bool:
        return self._forecast.is_stale(asyncio.get_running_loop().time())
