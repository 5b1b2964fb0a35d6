"""The snapshots that the trainer brings to a round, fragment by fragment, as the swarm is handed them.

Owns how another fragment is asked for in the middle of a round, and for how long its snapshot is waited for. Does not
know which fragment is due, nor how it is averaged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from gossiptrain.core.fragments import Fragments
from gossiptrain.core.movement import Radii
from gossiptrain.node import control
from gossiptrain.node.control_socket import NodeSide
from gossiptrain.node.memory import SharedVectors
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.messages import Assignment

LONGEST_STEP_S = 10.0
"""How long a snapshot is waited for, which the trainer takes after the inner step that it is in."""


class Snapshots:
    """Those of one trainer."""

    def __init__(
        self,
        trainer: NodeSide,
        memory: SharedVectors,
        fragments: Fragments,
        *,
        parts: Sequence[Sequence[int]] = (),
    ) -> None:
        """parts: by fragment, the elements of the parts for which snapshots come with radii."""
        self.fragments = fragments
        self.number = 0
        """Of the fragment that is in the memory."""
        self._radii: Radii | None = None
        self._parts = parts
        self._trainer = trainer
        self._memory = memory
        self._wanted: int | None = None
        self._answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._told_round = 0

    @property
    def buffers(self) -> Buffers:
        """The part of the memory that the fragment takes."""
        elements = self.fragments.lengths[self.number]
        return Buffers(self._memory.snapshot[:elements], self._memory.average[:elements], self._radii)

    def begin(self, taken: control.SnapshotTaken) -> None:
        """A round begins with this snapshot."""
        self.number = taken.fragment
        self._note_radii(taken)

    def found(self) -> None:
        """See `fragments.Contributions`."""
        self._trainer.send(control.GroupFound())

    async def bring(self, number: int, assignment: Assignment, *, averaged: bool) -> bool:
        """See `fragments.Contributions`."""
        self._wanted, self._answer = number, asyncio.get_running_loop().create_future()
        samples = assignment.samples if averaged else None
        self._trainer.send(control.FragmentWanted(round=assignment.round, fragment=number, samples=samples))
        try:
            async with asyncio.timeout(LONGEST_STEP_S):
                is_there = await self._answer
        except TimeoutError:
            return False
        finally:
            self._wanted = None
        if is_there:
            self.number = number
        return is_there

    def answered(self, message: control.SnapshotTaken | control.SnapshotRefused) -> None:
        """The trainer's answer; one that comes after the round was given up changes nothing."""
        taken = message.fragment if isinstance(message, control.SnapshotTaken) else None
        if not self._answer.done() and taken in (None, self._wanted):
            if isinstance(message, control.SnapshotTaken):
                self._note_radii(message)
            self._answer.set_result(taken is not None)

    def _note_radii(self, taken: control.SnapshotTaken) -> None:
        self._radii = Radii(self._parts[taken.fragment], np.asarray(taken.radii)) if taken.radii else None

    def tell_round(self, number: int) -> None:
        """Lets the trainer know which round is next, where it has to know."""
        if self.fragments.count > 1 and number != self._told_round:
            self._told_round = number
            self._trainer.send(control.NextRound(number=number))
