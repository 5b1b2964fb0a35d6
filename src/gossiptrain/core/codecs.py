"""How a flat float32 vector travels: as it is, or in half the bytes. A quarter of them: `modular`.

Owns the bytes of a chunk and the rounding. Does not know who sends it, what it means, or how it is framed. All vectors
are one-dimensional and contiguous, all numbers on the wire little-endian. Finite values stay finite, and values that
are not stay so, for the receiver's check to find them.

One instance serves one task at a time, since its scratch memory is shared by its calls; they allocate nothing, except
where values are about as large as the format can hold. Speeds are in `benchmarks/codecs.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

from gossiptrain.core.averaging import Vector

Bytes = npt.NDArray[np.uint8]
PlainCodecName = Literal["fp32", "fp16", "bf16"]

_EXPONENT = 0x7F80_0000
_QUIET_NAN = np.float32(np.nan)


class Codec(ABC):
    """Turns vectors into bytes and back."""

    name: PlainCodecName

    @abstractmethod
    def size_bytes(self, elements: int) -> int:
        """Exact length on the wire of `elements` values."""

    @abstractmethod
    def encode(self, values: Vector, out: Bytes) -> None:
        """Writes `values`, which stay as they are, into `out` of `size_bytes(len(values))` bytes."""

    @abstractmethod
    def decode(self, raw: Bytes, out: Vector) -> None:
        """Writes the values of `raw`, of `size_bytes(len(out))` bytes, into `out`.

        The same bytes give the same values everywhere. Any bytes give some values, perhaps infinite ones or NaN.
        """


def codec_named(name: PlainCodecName, *, longest_elements: int) -> Codec:
    """A new codec for vectors of up to `longest_elements`.

    A longer vector makes `encode` raise ValueError, except with fp32.
    """
    match name:
        case "fp32":
            return _Float32()
        case "fp16":
            return _Float16(longest_elements)
        case "bf16":
            return _BFloat16(longest_elements)


class _Float32(Codec):
    """The values themselves."""

    name = "fp32"

    def size_bytes(self, elements: int) -> int:
        return 4 * elements

    def encode(self, values: Vector, out: Bytes) -> None:
        np.copyto(out.view("<f4"), values)

    def decode(self, raw: Bytes, out: Vector) -> None:
        np.copyto(out, raw.view("<f4"))


class _Float16(Codec):
    """IEEE half precision, rounded to nearest even. As numpy does it, in about half the time.

    In float32, |x| + 2^(e + 13) is |x| rounded to the 11 bits that half precision has at exponent e, and the lowest
    bits of the sum count its units of 2^(e - 10). With e no less than -14 this includes the subnormal numbers.
    """

    name = "fp16"

    LARGEST = 65504.0
    _EXPONENT_OF_32768 = (127 + 15) << 23
    # Half precision counts 1024 units per exponent, in 16 bits. There the exponent of 2^(e + 13) would be e + 140; the
    # 2048 units added here make it e + 142, of which 16 bits keep e + 14, and the leading one of |x| makes it e + 15.
    _TO_MAGIC = 13 << 23 | 2048

    def __init__(self, longest_elements: int) -> None:
        self._magic = np.empty(longest_elements, np.uint32)
        self._sum = np.empty(longest_elements, np.uint32)
        # An array, since numpy is slow in comparing with a single number.
        self._least_exponent = np.full(longest_elements, (127 - 14) << 23, np.uint32)

    def size_bytes(self, elements: int) -> int:
        return 2 * elements

    def encode(self, values: Vector, out: Bytes) -> None:
        elements = len(values)
        bits = values.view(np.uint32)
        magic, total = self._magic[:elements], self._sum[:elements]
        total_values = total.view(np.float32)
        np.bitwise_and(bits, _EXPONENT, out=magic)
        if np.max(magic, initial=0) >= self._EXPONENT_OF_32768:
            with np.errstate(all="ignore"):
                np.copyto(out.view("<f2"), _saturated(values, self.LARGEST), casting="same_kind")
            return
        np.maximum(magic, self._least_exponent[:elements], out=magic)
        np.add(magic, self._TO_MAGIC, out=magic)
        np.abs(values, out=total_values)
        np.add(total_values, magic.view(np.float32), out=total_values)
        np.right_shift(magic, 13, out=magic)
        np.add(total, magic, out=total)
        sign = magic
        np.right_shift(bits, 16, out=sign)
        np.bitwise_and(sign, 0x8000, out=sign)
        np.bitwise_or(total, sign, out=total)
        np.copyto(out.view("<u2"), total, casting="unsafe")

    def decode(self, raw: Bytes, out: Vector) -> None:
        halves = raw.view("<i2")
        if np.max(halves, initial=0) >= 0x7C00 or np.max(raw.view("<u2"), initial=0) >= 0xFC00:
            with np.errstate(all="ignore"):
                np.copyto(out, raw.view("<f2"))
            return
        # Sign, exponent and mantissa at their places in float32, where only the exponent counts from another zero.
        bits = out.view(np.int32)
        np.copyto(bits, halves)
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, -0x7000_0001, out=bits)
        np.multiply(out, np.float32(2.0**112), out=out)


class _BFloat16(Codec):
    """The upper half of a float32, rounded to nearest even."""

    name = "bf16"

    LARGEST = float.fromhex("0x1.fep127")
    _GREATEST_EXPONENT = (127 + 127) << 23

    def __init__(self, longest_elements: int) -> None:
        self._rounded = np.empty(longest_elements, np.uint32)

    def size_bytes(self, elements: int) -> int:
        return 2 * elements

    def encode(self, values: Vector, out: Bytes) -> None:
        rounded = self._rounded[: len(values)]
        bits = values.view(np.uint32)
        np.bitwise_and(bits, _EXPONENT, out=rounded)
        if np.max(rounded, initial=0) >= self._GREATEST_EXPONENT:
            bits = _saturated(values, self.LARGEST).view(np.uint32)
        np.right_shift(bits, 16, out=rounded)
        np.bitwise_and(rounded, 1, out=rounded)
        np.add(rounded, 0x7FFF, out=rounded)
        np.add(rounded, bits, out=rounded)
        np.right_shift(rounded, 16, out=rounded)
        np.copyto(out.view("<u2"), rounded, casting="unsafe")

    def decode(self, raw: Bytes, out: Vector) -> None:
        bits = out.view(np.uint32)
        np.copyto(bits, raw.view("<u2"))
        np.left_shift(bits, 16, out=bits)


def _saturated(values: Vector, largest: float) -> Vector:
    """A copy with finite values clipped; infinities stay, and NaN has the pattern that rounding leaves NaN."""
    with np.errstate(all="ignore"):
        copy = np.clip(values, np.float32(-largest), np.float32(largest))
        np.copyto(copy, values, where=np.isinf(values))
        np.copyto(copy, _QUIET_NAN, where=np.isnan(values))
    return copy
