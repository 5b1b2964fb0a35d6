"""int8 and int4: chunks by modulo quantisation, a byte for each value or half of one, for members that hold nearly the
same ones.

Owns the estimate of how far members spread, block by block, which each round makes for the next one: the steps of a
mean say how far the members were from it. Of a mean its owner knows that exactly, so every member can read it; of
contributions it is a guess with room, and where it was wrong the owner notices. Owns what stands in then, too. Does not
know streams or members.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from blake3 import blake3

from gossiptrain.config import CodecName
from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import PlainCodecName, codec_named
from gossiptrain.core.guards import is_finite
from gossiptrain.core.modular import BLOCK, UNKNOWN, Bits, Modular, blocks_of
from gossiptrain.core.partition import Slice
from gossiptrain.swarm.coding import BufferedCoding, Buffers, CodecCoding, Scratch, UnreadableError

NEAR_BITS: dict[CodecName, Bits] = {"int8": 8, "int4": 4}
"""The codecs that this file is about."""
FALLBACK: PlainCodecName = "fp16"
"""What stands in for them after an attempt that has failed."""
ROOM: dict[Bits, float] = {8: 6.0, 4: 3.0}
"""Times as far as members were from their last mean they may be from each other. Two members on opposite sides take 2
of it, the rest is for peers that were away or learn faster. In int4 errors are a share of it that counts, so there is
less of it."""


class SpreadEstimate:
    """How far the members of the last rounds were from their means at most, in each block of the flat vector."""

    def __init__(self, elements: int) -> None:
        self._apart: Vector = np.full(blocks_of(elements), UNKNOWN)

    def max_deviation(self, chunk: Slice, *, room: float) -> Vector:
        """How far another member's values may deviate from the own ones, in each block of the chunk. room: see `ROOM`.

        A block that lay still in the last round may move in this one as others did: within a chunk none is thought to
        be nearer than any has been from its mean.
        """
        touched = self._touched(chunk)
        apart = touched[: blocks_of(len(chunk))].copy()
        if chunk.start % BLOCK:
            others = touched[1:]
            np.maximum(apart[: len(others)], others, out=apart[: len(others)])
        known = apart.max(initial=0.0, where=np.isfinite(apart))
        apart *= np.float32(room)
        np.maximum(apart, known, out=apart)
        return apart

    def note(self, chunk: Slice, apart: Vector) -> None:
        """apart [blocks]: how far the members were from their mean of this chunk."""
        touched = self._touched(chunk)
        if chunk.start % BLOCK:
            touched[1:] = apart[: len(touched) - 1]
        touched[: len(apart)] = apart

    def widen(self) -> None:
        """An attempt has failed, perhaps because two members were further apart than that."""
        self._apart *= 2

    def _touched(self, chunk: Slice) -> Vector:
        """The blocks of the whole vector in which the chunk has elements.

        Chunks begin anywhere, as slices do, so each of their own blocks may lie in two of them: in that of its number
        and in the next one.
        """
        return self._apart[chunk.start // BLOCK : blocks_of(chunk.stop)]


class NearCoding(BufferedCoding):
    """Chunks in int8 or int4."""

    def __init__(
        self, buffers: Buffers, modular: Modular, own_chunks: Sequence[Slice], *, spread: SpreadEstimate, seed: int
    ) -> None:
        """seed: for rounding at random; at least 0, and another one for each member and round."""
        self._modular = modular
        self._seed = seed
        self._spread = spread
        # What this round teaches is for the next one: means may come back before all contributions are sent.
        self._thought = copy.deepcopy(spread)
        super().__init__(buffers, own_chunks, coded_bytes=modular.size_bytes)
        longest = max((len(chunk) for chunk in own_chunks), default=0)
        self._apart = np.zeros(blocks_of(longest), np.float32)
        """How far the contributions to the chunk that is being reduced are from their mean, in each block."""
        self._coarsest = np.zeros(blocks_of(longest), np.float32)
        """Largest step of each block among these contributions."""

    def contribution(self, chunk: Slice, scratch: Scratch) -> memoryview:
        """Raises UnreadableError in int4 where nothing is known of the others: fifteen steps from one end of the values
        to the other would be worse than a round in another codec."""
        max_deviation = self._thought.max_deviation(chunk, room=ROOM[self._modular.bits])
        if self._modular.bits < 8 and not np.isfinite(max_deviation).all():
            raise UnreadableError
        wire = scratch.wire[: self.size_bytes(chunk)]
        self._modular.encode(
            self.own_part(chunk),
            max_deviation,
            wire,
            dither_offset=self._dither_offset(chunk, mean=False),
        )
        return wire.data

    def contributed(self, chunk: Slice, scratch: Scratch) -> Vector:
        values = scratch.values[: len(chunk)]
        steps = self._decode(scratch, chunk, values)
        coarsest = self._coarsest[: len(steps)]
        np.maximum(coarsest, np.abs(steps), out=coarsest)
        return values

    def squared_distances(self, chunk: Slice, parts: Sequence[Vector], scratch: Vector) -> float:
        apart = self._apart[: blocks_of(len(chunk))]
        apart[:] = 0.0
        return sum(self._modular.note_distance(part, self.mean_place(chunk), apart) for part in parts)

    def keep_mean(self, chunk: Slice) -> None:
        apart, coarsest = (blocks[: blocks_of(len(chunk))] for blocks in (self._apart, self._coarsest))
        # The others read the mean by their own values, which differ from their contributions by half a step at most.
        apart += np.float32(0.5) * coarsest
        coarsest[:] = 0.0
        self._modular.encode(
            self.mean_place(chunk),
            apart,
            self._coded_mean(chunk),
            dither_offset=self._dither_offset(chunk, mean=True),
            decoded_out=self.kept(chunk),
        )
        self._spread.note(chunk, apart)

    def take_mean(self, chunk: Slice, scratch: Scratch) -> Vector:
        steps = self._decode(scratch, chunk, self.kept(chunk))
        self._spread.note(chunk, np.abs(steps) * self._modular.reach)
        return self.kept(chunk)

    def _dither_offset(self, chunk: Slice, *, mean: bool) -> int:
        """Whatever the order is in which the network has chunks coded, the same."""
        # A generator of numpy's takes as long to make as a chunk to code.
        drawn = blake3(f"{self._seed}/{chunk.start}/{mean}".encode()).digest(length=8)
        return int.from_bytes(drawn, "big") % Modular.DITHERS

    def _decode(self, scratch: Scratch, chunk: Slice, values: Vector) -> Vector:
        """Leaves in `values` what has been read, and returns the steps of its blocks."""
        wire = scratch.wire[: self.size_bytes(chunk)]
        right = self._modular.decode(wire, self.own_part(chunk), values)
        # What is not finite has no checksum either, and that is its sender's fault.
        if not right and is_finite(values):
            raise UnreadableError
        return self._modular.steps_of(wire, len(chunk))


class FallbackCoding(CodecCoding):
    """Chunks after an attempt that has failed: for members that are as far apart as they like, who learn by it how far
    they are."""

    def __init__(self, buffers: Buffers, own_chunks: Sequence[Slice], *, spread: SpreadEstimate) -> None:
        super().__init__(buffers, codec_named(FALLBACK), own_chunks)
        self._spread = spread

    def keep_mean(self, chunk: Slice) -> None:
        super().keep_mean(chunk)
        self._note(chunk)

    def take_mean(self, chunk: Slice, scratch: Scratch) -> Vector:
        kept = super().take_mean(chunk, scratch)
        self._note(chunk)
        return kept

    def _note(self, chunk: Slice) -> None:
        """The own distance, doubled, stands for that of all: nobody is told of the others', and an attempt may
        have failed because members learn more in each round than in the last one."""
        apart = np.zeros(blocks_of(len(chunk)), np.float32)
        Modular.note_distance(self.own_part(chunk), self.kept(chunk), apart)
        apart *= np.float32(2)
        self._spread.note(chunk, apart)
