"""How a flat float32 vector travels: as it is, or in half the bytes. A quarter of them: `modular`.

Owns the bytes of a chunk and the rounding. Does not know who sends it, what it means, or how it is framed. All vectors
are one-dimensional and contiguous, all numbers on the wire little-endian. Finite values stay finite, and values that
are not stay so, for the receiver's check to find them.

All formats but float32 itself take the compiled loops of `kernels`, which are imported by the first call, or beforehand
by `prepare`. Speeds are in `benchmarks/codecs.py`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

from gossiptrain.core.averaging import Vector

Bytes = npt.NDArray[np.uint8]
PlainCodecName = Literal["fp32", "fp16", "bf16"]


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


def codec_named(name: PlainCodecName) -> Codec:
    """The codec of that name. It holds nothing between its calls."""
    match name:
        case "fp32":
            return _Float32()
        case "fp16":
            return _Float16()
        case "bf16":
            return _BFloat16()


def prepare() -> None:
    """Has the loops of all formats but float32 compiled, so that their first call does not: it takes half a second, and
    some the first time on a computer."""
    importlib.import_module("gossiptrain.core.kernels")


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
    """IEEE half precision, rounded to nearest even; what is beyond its largest number becomes that."""

    name = "fp16"

    def size_bytes(self, elements: int) -> int:
        return 2 * elements

    def encode(self, values: Vector, out: Bytes) -> None:
        from gossiptrain.core.kernels import encode_float16

        encode_float16(values, out.view("<u2"))

    def decode(self, raw: Bytes, out: Vector) -> None:
        from gossiptrain.core.kernels import decode_float16

        decode_float16(raw.view("<u2"), out)


class _BFloat16(Codec):
    """The upper half of a float32, rounded to nearest even."""

    name = "bf16"

    def size_bytes(self, elements: int) -> int:
        return 2 * elements

    def encode(self, values: Vector, out: Bytes) -> None:
        from gossiptrain.core.kernels import encode_bfloat16

        encode_bfloat16(values, out.view("<u2"))

    def decode(self, raw: Bytes, out: Vector) -> None:
        from gossiptrain.core.kernels import decode_bfloat16

        decode_bfloat16(raw.view("<u2"), out)
