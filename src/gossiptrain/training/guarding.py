"""Whether the average of a round is taken: the guard of one trainer.

Owns where the trainer stood after the last average that it took, as a sample of its values, and the history of
each fragment of the model. Does not know models or rounds: it sees flat vectors, and is told how much of the way was
gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossiptrain.config import GuardName
from gossiptrain.core.averaging import Vector
from gossiptrain.core.guards import way_between
from gossiptrain.core.movement import Distances, MovementHistory, Usual, Way, length
from gossiptrain.swarm.coding import Buffers

SAMPLED = 64
"""Values of each part by which is told how far this peer has come by itself."""
REUNION_ROUNDS = 8
"""After somebody has come, so many rounds may lead further than usual: halves that were cut apart have gone on for
themselves, and are far from each other when they meet again."""
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judgement:
    """What is to become of an average.

    taken: `nothing` of it, `part` of it, or `all`. times: how many times as far from the snapshot it is as usual. kept:
    see `Way.kept`. average: what is to be taken in its place, where it is a part of it.
    """

    taken: str
    times: float = 1.0
    kept: float = 1.0
    average: Vector | None = None


class TrainerGuard:
    """Of one trainer. Its rounds are told in their order: `see`, `judge`, and `note` where something was taken."""

    def __init__(
        self,
        kind: GuardName,
        parts: Sequence[Sequence[int]],
        memory: Buffers,
        *,
        values_at: Callable[[Positions, int], Vector],
    ) -> None:
        """parts: elements of each part of each fragment. memory: has room for one fragment.

        values_at: tells the model's values at these positions of a fragment.
        """
        self._kind = kind
        self._parts = parts
        self._memory = memory
        self._values_at = values_at
        self._samples = [_Sample(lengths) for lengths in parts]
        self._histories = [MovementHistory(lengths) for lengths in parts]
        self._anchors: list[Vector] = []
        self._begun: list[Vector] = []
        self._learnt: Distances = np.zeros(0)
        self._moved: Distances = np.zeros(0)
        self._reunion_rounds = 0
        self.begin()

    def begin(self) -> None:
        """The model holds values from which training begins: the first ones, or those of another peer."""
        if self._kind == "off":
            return
        self._anchors = [self._values_at(sample.positions, number) for number, sample in enumerate(self._samples)]
        self._begun = list(self._anchors)
        self.expect_others()

    def expect_others(self) -> None:
        """Somebody has come who may have gone another way for long."""
        self._reunion_rounds = REUNION_ROUNDS

    def see(self, fragment: int) -> None:
        """The snapshot of a fragment is in the memory."""
        if self._kind == "off":
            return
        sample = self._samples[fragment]
        shown = self._memory.snapshot[sample.positions]
        self._learnt = sample.distances(shown - self._anchors[fragment])
        self._histories[fragment].offer(sample.distances(shown - self._begun[fragment]))
        self._begun[fragment] = shown

    def radii(self, fragment: int) -> tuple[float, ...]:
        """How far contributions to this round may be from the own values, in each part; empty where as far as they
        are."""
        usual = self._histories[fragment].usual(self._learnt, self._kind) if self._kind == "clip" else None
        return () if usual is None else tuple(float(f"{radius:.4g}") for radius in usual.reach)

    def judge(self, fragment: int, *, pace: float) -> Judgement:
        """What is to become of the average in the memory. pace: see `MovementHistory.usual`."""
        if self._kind == "off":
            return Judgement("all")
        lengths = self._parts[fragment]
        elements = sum(lengths)
        way = way_between(self._memory.snapshot[:elements], self._memory.average[:elements], lengths)
        self._moved = way.moved
        usual = self._histories[fragment].usual(self._learnt, self._kind, pace=pace)
        reunion, self._reunion_rounds = self._reunion_rounds > 0, max(0, self._reunion_rounds - 1)
        if usual is None:
            return Judgement("all")
        if self._kind == "clip":
            return self._part_of_average(usual, way, lengths)
        # Nobody who began where this peer did and has learnt since is further away than all that this peer holds.
        if usual.allows(way) or (reunion and length(way.moved) <= float(np.sqrt(way.own.sum()))):
            return Judgement("all")
        return Judgement("nothing", usual.times(way.moved), way.kept)

    def _part_of_average(self, usual: Usual, way: Way, lengths: Sequence[int]) -> Judgement:
        shares = usual.shares(way)
        if (shares == 1).all():
            return Judgement("all")
        times = usual.times(way.moved)
        self._moved = shares * way.moved
        if not shares.any():
            return Judgement("nothing", times, way.kept)
        elements = sum(lengths)
        snapshot, average = self._memory.snapshot[:elements], self._memory.average[:elements]
        each = np.repeat(shares.astype(np.float32), lengths)
        return Judgement("part", times, way.kept, np.where(each == 1, average, snapshot + each * (average - snapshot)))

    def note(self, fragment: int, taken: Vector | None = None, *, alpha: float) -> None:
        """The share `alpha` of the way was gone. taken: in place of the average in the memory."""
        if self._kind == "off":
            return
        positions = self._samples[fragment].positions
        shown = self._memory.snapshot[positions]
        average = (self._memory.average if taken is None else taken)[positions]
        self._anchors[fragment] = shown + np.float32(alpha) * (average - shown)
        self._begun[fragment] = self._anchors[fragment]
        if len(self._moved):
            self._histories[fragment].note(self._moved)


class _Sample:
    """Some positions in each part of a flat vector."""

    def __init__(self, lengths: Sequence[int]) -> None:
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        own = [
            start + np.arange(0, elements, -(-elements // SAMPLED))
            for start, elements in zip(starts, lengths, strict=True)
        ]
        self.positions: Positions = np.concatenate(own).astype(np.int64)
        counts = np.array([len(places) for places in own])
        self._firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self._scales = np.sqrt(np.asarray(lengths) / counts)

    def distances(self, differences: Vector) -> Distances:
        """Of whole parts, as far as the sample tells."""
        squares = np.add.reduceat(np.square(differences, dtype=np.float64), self._firsts)
        return np.asarray(self._scales * np.sqrt(squares), np.float64)
