"""Modulo quantisation: one byte for each value, or half of one, for a receiver that holds nearly the same values.

Owns the bytes of a chunk and its rounding. A value is rounded to a whole number of steps, and that number is sent
modulo 256, or modulo 16: its lowest bits. The receiver takes, of all numbers that end in them, the one nearest to its
own value (Moniqua, Lu and De Sa 2020). So the step need only be fine enough for the largest deviation between the two,
not for how large values are. Each block has a step of its own, and is either a modulo block or an absolute one: where
values are so small that numbers of so many bits reach from zero to all of them, the whole number is sent, and the
receiver's values do not matter. A checksum of the wraps, the multiples of 256 or 16 that are not sent, shows when the
deviation was larger than assumed. A random part of a step is added to each value before it is rounded, and taken off by
the receiver (subtractive dither, Roberts 1962): whatever the value, it errs by half a step at most and not at all on
average. Does not know how far peers deviate, nor why.

Vectors are float32, one-dimensional and contiguous; numbers on the wire are little-endian.
"""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias

import numpy as np
from blake3 import blake3

from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import Bytes

BLOCK = 256
"""Values that share one step."""
Bits: TypeAlias = Literal[4, 8]
"""Of each value."""
_REACH: dict[Bits, np.float32] = {4: np.float32(7.0), 8: np.float32(126.0)}
"""Steps by which receiver and sender may deviate: half of 16 or 256, less what rounding adds at either end."""
UNKNOWN = np.float32(np.inf)
"""Largest deviation of a block of which nothing is known: it is an absolute block."""
_HEAD_BYTES = 8
"""The checksum, and where the dither begins in its table."""
_WEIGHTS = np.frombuffer(blake3(b"weights of wraps").digest(length=4 * BLOCK), "<u4").astype(np.uint32) | np.uint32(1)
"""Of each value of a block in the checksum: random, and odd, so that no wrong wrap is multiplied away."""


class Modular:
    """Coder and decoder of chunks of up to `longest_elements`. It holds nothing between its calls."""

    bits: Bits
    reach: np.float32
    """Steps by which the values of sender and receiver may deviate."""

    DITHERS = 1 << 16
    """Entries of a table of random numbers, the dither, made once, which calls read from different offsets: drawing new
    ones would take longer than all the rest. It holds each of so many evenly spaced numbers once, so that over all
    offsets the expected result is the value, without the error of a sample."""

    def __init__(self, longest_elements: int, *, bits: Bits = 8) -> None:
        self.bits = bits
        self.reach = _REACH[bits]
        self._dithers = _dithers(self.DITHERS, longest_elements)

    def size_bytes(self, elements: int) -> int:
        """Exact length on the wire of `elements` values."""
        return _HEAD_BYTES + 4 * blocks_of(elements) + -(-elements * self.bits // 8)

    def encode(
        self,
        values: Vector,
        max_deviation: Vector,
        out: Bytes,
        *,
        dither_offset: int,
        decoded_out: Vector | None = None,
    ) -> None:
        """Writes `values`, which stay as they are, into `out` of `size_bytes(len(values))` bytes.

        max_deviation [blocks]: how far the values of a receiver may deviate from these, in each block of 256; UNKNOWN:
        anywhere. dither_offset: a random number below DITHERS, another one in every call: errors average out only where
        they are independent. Where a value is not finite its block is not. decoded_out: where to put the values that
        all receivers will decode, bitwise.
        """
        from gossiptrain.core.kernels import encode_modular, pack_pairs

        blocks = blocks_of(len(values))
        edge = _HEAD_BYTES + 4 * blocks
        steps, dithers = np.empty(blocks, np.float32), self._dithers[dither_offset:]
        low = out[edge:].view(np.int8) if self.bits == 8 else np.empty(len(values), np.int8)
        wraps = encode_modular(values, max_deviation, dithers, steps, low, _WEIGHTS, self.reach, self.bits)
        if self.bits == 4:
            pack_pairs(low, out[edge:])
        out[:_HEAD_BYTES].view("<u4")[:] = wraps, dither_offset
        np.copyto(out[_HEAD_BYTES:edge].view("<f4"), steps)
        if decoded_out is not None:
            self.decode(out, values, decoded_out)

    def decode(self, raw: Bytes, reference: Vector, out: Vector) -> bool:
        """Writes the values of `raw`, of `size_bytes(len(out))` bytes, into `out`, and says whether they are right.

        reference: the receiver's own values. All who decode rightly have bitwise the same values. Any bytes give some
        values, perhaps infinite ones or NaN.
        """
        from gossiptrain.core.kernels import decode_modular, unpack_pairs

        steps = self.steps_of(raw, len(out))
        edge = _HEAD_BYTES + steps.nbytes
        checksum, dither_offset = map(int, raw[:_HEAD_BYTES].view("<u4"))
        low = raw[edge:].view(np.int8) if self.bits == 8 else np.empty(len(out), np.int8)
        if self.bits == 4:
            unpack_pairs(raw[edge:], low)
        dithers = self._dithers[dither_offset % self.DITHERS :]
        return int(decode_modular(steps, low, dithers, reference, out, _WEIGHTS, self.bits)) == checksum

    @staticmethod
    def note_distance(values: Vector, others: Vector, largest: Vector) -> float:
        """The sum of the squared differences. largest [blocks]: becomes the largest difference of each block, where it
        has not been larger."""
        from gossiptrain.core.kernels import distance_in_blocks

        return distance_in_blocks(values, others, largest, BLOCK)

    @staticmethod
    def steps_of(raw: Bytes, elements: int) -> Vector:
        """A copy of the step of each block [blocks], negative for an absolute block."""
        edge = _HEAD_BYTES + 4 * blocks_of(elements)
        return raw[_HEAD_BYTES:edge].view("<f4").astype(np.float32)


def blocks_of(elements: int) -> int:
    """How many blocks so many values make; the last one may be shorter."""
    return -(-elements // BLOCK)


@functools.lru_cache(maxsize=2)
def _dithers(count: int, longest_elements: int) -> Vector:
    """The table, repeated as far as a chunk may reach beyond it. Nobody writes to it."""
    dithers = (np.random.default_rng(0).permutation(count) + 0.5) / count - 0.5
    return np.resize(dithers.astype(np.float32), count + longest_elements)
