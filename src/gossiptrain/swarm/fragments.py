"""What a peer brings to a round, and a round that carries several fragments of a model one after the other.

Owns the form in which contributions are handed to the swarm, which fragments a round carries, and what the results of
its parts come to. An ordinary round carries the fragment whose turn it is; one whose members have all made their last
step carries all, so that they end with one model. Does not know how a part is averaged, nor who takes the snapshots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from blake3 import blake3

from gossiptrain.core.fragments import Fragments
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.messages import Assignment
from gossiptrain.swarm.round import RoundResult


class Contributions(Protocol):
    """A peer's parameters for one round. The snapshot of one fragment is there, others are taken when they are due."""

    @property
    def fragments(self) -> Fragments:
        """How the model is cut."""

    @property
    def number(self) -> int:
        """Of the fragment that is there."""

    @property
    def buffers(self) -> Buffers:
        """Its snapshot, and room for its average."""

    def found(self) -> None:
        """Hears that the round has its group."""

    async def bring(self, number: int, assignment: Assignment, *, averaged: bool) -> bool:
        """Has the snapshot of another fragment taken for this round, and says whether it is there.

        averaged: whether the fragment that is there has its average, which is to be taken over first; otherwise nothing
        has come of its snapshot.
        """


class WholeModel:
    """Contributions of a model in one piece."""

    def __init__(self, buffers: Buffers) -> None:
        self.fragments = Fragments((len(buffers.snapshot),))
        self.number = 0
        self.buffers = buffers

    def found(self) -> None:
        """It is of no consequence."""

    async def bring(self, number: int, assignment: Assignment, *, averaged: bool) -> bool:
        """There is no other fragment."""
        return False


def carried(assignment: Assignment, fragments: Fragments, *, run_key: str) -> tuple[int, ...]:
    """The numbers of the fragments that a round carries, in their order."""
    first = fragments.of_round(run_key, assignment.round)
    return fragments.from_there_on(first) if assignment.final else (first,)


def part_id(assignment: Assignment, number: int, parts: Sequence[int]) -> str:
    """The name of the part of a round that carries this fragment."""
    return assignment.round_id if len(parts) == 1 else f"{assignment.round_id}{number:04x}"


def together(results: Sequence[RoundResult], lengths: Sequence[int]) -> RoundResult:
    """The result of a round from those of its parts, which carried fragments of these lengths.

    It has committed where the last part has. Disagreement: the root mean square of theirs, by their lengths.
    """
    last = results[-1]
    if len(results) == 1:
        return last
    apart = [(length, part.disagreement) for length, part in zip(lengths, results, strict=False)]
    known = [(length, disagreement) for length, disagreement in apart if disagreement is not None]
    elements = sum(length for length, _ in known)
    squares = sum(length * disagreement**2 for length, disagreement in known)
    digest = blake3("/".join(part.digest for part in results).encode()).hexdigest()
    held_up = frozenset[str]().union(*(part.held_up for part in results))
    return last.model_copy(
        update={
            "attempts": max(part.attempts for part in results),
            "seconds": sum(part.seconds for part in results),
            "bytes_sent": sum(part.bytes_sent for part in results),
            "disagreement": math.sqrt(squares / elements) if elements else None,
            "digest": digest if last.committed else "",
            "silent": frozenset[str]().union(*(part.silent for part in results)) - held_up,
            "held_up": held_up,
        }
    )
