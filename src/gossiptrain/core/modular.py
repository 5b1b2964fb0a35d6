"""Modulo quantisation with stochastic rounding: one byte for each value, for a receiver that holds nearly the same
ones.

Owns the bytes of a chunk and its rounding. A value is rounded to a whole number of steps, and that number is sent
modulo 256: its lowest byte. The receiver takes, of all numbers with that byte, the one nearest to its own value
(Moniqua, Lu and De Sa 2020). So the step need only be fine enough for the largest deviation between the two, not for
how large values are. Each block has a step of its own, and is either a modulo block or an absolute one: where values
are so small that 127 steps reach from zero to all of them, the byte is the whole number, and the receiver's values do
not matter. A checksum of the wraps, the multiples of 256 that are not sent, shows when the deviation was larger than
assumed. Does not know how far peers deviate, nor why.

Vectors are float32, one-dimensional and contiguous; numbers on the wire are little-endian.
"""

from __future__ import annotations

import functools
import zlib

import numpy as np

from gossiptrain.core.averaging import Vector
from gossiptrain.core.codecs import Bytes

BLOCK = 256
"""Values that share one step."""
RANGE = 126.0
"""Steps by which receiver and sender may deviate: half of 256, less what rounding adds at either end."""
UNKNOWN = np.float32(np.inf)
"""Largest deviation of a block of which nothing is known: it is an absolute block."""
_CHECKSUM_BYTES = 4
_FINEST = np.float32(2.0**-20)
"""Least step relative to the largest value of a block: so numbers of steps are exact in float32, with room to spare."""
_SMALLEST_STEP = np.float32(2.0**-126)


class Modular:
    """Coder and decoder of chunks of up to `longest_elements`. Its scratch memory is shared by its calls."""

    DITHERS = 1 << 16
    """Entries of a table of random numbers, the dither, made once, which calls read from different offsets: drawing new
    ones would take longer than all the rest. It holds each of so many evenly spaced numbers once, so that over all
    offsets the expected result is the value, without the error of a sample."""

    def __init__(self, longest_elements: int) -> None:
        self._dithers = _dithers(self.DITHERS, longest_elements)
        self._scaled = np.empty(longest_elements, np.float32)
        self._wraps = np.empty(longest_elements, np.float32)
        self._whole = np.empty(longest_elements, np.int32)
        self._high = np.empty(longest_elements, np.int16)
        self._starts = np.arange(0, longest_elements, BLOCK)

    def size_bytes(self, elements: int) -> int:
        """Exact length on the wire of `elements` values."""
        return _CHECKSUM_BYTES + 4 * blocks_of(elements) + elements

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
        anywhere. dither_offset: a random number up to DITHERS, another one in every call: errors average out only where
        they are independent. They are less than a step, and right on average. Where a value is not finite its block is
        not. decoded_out: where to put the values that all receivers will decode, bitwise.
        """
        elements, blocks = len(values), blocks_of(len(values))
        if not elements:
            out[:] = np.frombuffer(self._checksum(0), np.uint8)
            return
        scaled, whole = self._scaled[:elements], self._whole[:elements]
        with np.errstate(all="ignore"):
            largest = self._largest(values)
            by_itself = np.maximum(largest / np.float32(RANGE), _SMALLEST_STEP)
            near = np.maximum(max_deviation / np.float32(RANGE), np.maximum(largest * _FINEST, _SMALLEST_STEP))
            steps = np.where(near < by_itself, near, -by_itself).astype(np.float32)
            _multiply_blocks(values, 1 / np.abs(steps), scaled)
            np.add(scaled, self._dithers[dither_offset : dither_offset + elements], out=scaled)
            np.rint(scaled, out=scaled)
            np.copyto(whole, scaled, casting="unsafe")
            if decoded_out is not None:
                np.add(scaled, np.float32(0), out=scaled)  # no receiver reads a negative zero
                _multiply_blocks(scaled, np.abs(steps), decoded_out)
        edge = _CHECKSUM_BYTES + 4 * blocks
        np.copyto(out[edge:], whole, casting="unsafe")
        np.copyto(out[_CHECKSUM_BYTES:edge].view("<f4"), steps)
        # How many wraps of 256 a number is away from its byte, read as -128 to 127.
        np.add(whole, 128, out=whole)
        np.right_shift(whole, 8, out=self._high[:elements], casting="unsafe")
        out[:_CHECKSUM_BYTES] = np.frombuffer(self._checksum(elements), np.uint8)

    def decode(self, raw: Bytes, reference: Vector, out: Vector) -> bool:
        """Writes the values of `raw`, of `size_bytes(len(out))` bytes, into `out`, and says whether they are right.

        reference: the receiver's own values. All who decode rightly have bitwise the same values. Any bytes give some
        values, perhaps infinite ones or NaN.
        """
        elements = len(out)
        edge = _CHECKSUM_BYTES + 4 * blocks_of(elements)
        low, wraps = self._scaled[:elements], self._wraps[:elements]
        with np.errstate(all="ignore"):
            steps = self.steps_of(raw, elements)
            sizes = np.abs(steps)
            inverse = np.where(steps > 0, 1 / sizes, np.float32(0))
            np.copyto(low, raw[edge:].view(np.int8))
            # From the receiver's number of steps to the nearest one with the sender's byte.
            _multiply_blocks(reference, inverse, wraps)
            np.subtract(wraps, low, out=wraps)
            np.multiply(wraps, np.float32(1 / 256), out=wraps)
            np.rint(wraps, out=wraps)
            np.copyto(self._high[:elements], wraps, casting="unsafe")
            np.multiply(wraps, np.float32(256), out=wraps)
            np.add(wraps, low, out=wraps)
            _multiply_blocks(wraps, sizes, out)
        return self._checksum(elements) == raw[:_CHECKSUM_BYTES].tobytes()

    @staticmethod
    def steps_of(raw: Bytes, elements: int) -> Vector:
        """The step of each block [blocks], negative for an absolute block."""
        edge = _CHECKSUM_BYTES + 4 * blocks_of(elements)
        return np.asarray(raw[_CHECKSUM_BYTES:edge].view("<f4"), np.float32)

    def _largest(self, values: Vector) -> Vector:
        """Largest absolute value of each block [blocks]."""
        scratch = self._wraps[: len(values)]
        np.abs(values, out=scratch)
        found: Vector = np.maximum.reduceat(scratch, self._starts[: blocks_of(len(values))])
        return found

    def _checksum(self, elements: int) -> bytes:
        """Of the part of each number that does not travel."""
        return zlib.crc32(self._high[:elements].data).to_bytes(_CHECKSUM_BYTES, "little")


def furthest(values: Vector, others: Vector, scratch: Vector) -> Vector:
    """Largest absolute difference in each block [blocks]. scratch: as long as the vectors."""
    with np.errstate(all="ignore"):
        np.subtract(values, others, out=scratch)
        np.abs(scratch, out=scratch)
        found: Vector = np.maximum.reduceat(scratch, np.arange(0, len(values), BLOCK))
    return found


def blocks_of(elements: int) -> int:
    """How many blocks so many values make; the last one may be shorter."""
    return -(-elements // BLOCK)


@functools.lru_cache(maxsize=2)
def _dithers(count: int, longest_elements: int) -> Vector:
    """The table, repeated as far as a chunk may reach beyond it. Nobody writes to it."""
    dithers = (np.random.default_rng(0).permutation(count) + 0.5) / count - 0.5
    return np.resize(dithers.astype(np.float32), count + longest_elements)


def _multiply_blocks(values: Vector, factors: Vector, out: Vector) -> None:
    """Multiplies each block by a factor of its own."""
    whole = len(values) // BLOCK
    edge = whole * BLOCK
    blocks = (whole, BLOCK)
    np.multiply(values[:edge].reshape(blocks), factors[:whole, np.newaxis], out=out[:edge].reshape(blocks))
    np.multiply(values[edge:], factors[whole:], out=out[edge:])
