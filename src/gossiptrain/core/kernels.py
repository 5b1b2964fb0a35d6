"""The loops that code values, compiled: for int8 and int4, for half precision, and for how far values are apart.

Owns what is done with each value, in one pass over memory. Does not know the layout of bytes: `codecs` and `modular`.

Import it where a codec is first needed, and nowhere else: numba takes half a second and 130 MB of a process, and the
first time on a computer it compiles for some seconds. Inputs may lie at any address and need not be writable. Numbers
have their types written out because numba would widen them to 64 bits, and half as many would fit a register. Constants
of other files are arguments, since numba compiles anew only when this file has changed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from gossiptrain.core.averaging import Vector
from gossiptrain.core.compiler import compiled

Words = npt.NDArray[np.uint16]

f4, u4, i4 = np.float32, np.uint32, np.int32

_FINEST = np.float32(2.0**-20)
"""Least step relative to the largest value of a block: so numbers of steps are exact in float32, with room to spare."""
_SMALLEST_STEP = np.float32(2.0**-126)
_MOST_WRAPS = np.float32(2.0**20)
"""More than any value has: the finest step makes 2^20 steps of the largest one."""
_NEXT_BLOCK = np.uint32(0x9E37_79B1)

_MAGNITUDE = u4(0x7FFF_FFFF)
_INFINITY = u4(0x7F80_0000)

_IN = types.Array(types.float32, 1, "C", readonly=True)
_OUT = types.float32[::1]
_WORDS_IN = types.Array(types.uint16, 1, "C", readonly=True, aligned=False)
_WORDS_OUT = types.Array(types.uint16, 1, "C", aligned=False)
_BYTES_IN = types.Array(types.int8, 1, "C", readonly=True)
_PAIRS_IN = types.Array(types.uint8, 1, "C", readonly=True)
_WEIGHTS = types.Array(types.uint32, 1, "C", readonly=True)


@compiled(types.uint32(_IN, _IN, _IN, _OUT, types.int8[::1], _WEIGHTS, types.float32, types.int32))
def encode_modular(
    values: Vector,
    max_deviation: Vector,
    dithers: Vector,
    steps: Vector,
    low: npt.NDArray[np.int8],
    weights: npt.NDArray[np.uint32],
    reach: np.float32,
    width: int,
) -> np.uint32:
    """Rounds each value, in steps of its block, to a number + 2^width * wraps, and sums up the wraps.

    The number has a sign and `width` bits, 8 at most; low: a byte that ends in them. dithers: one for each value, added
    before it is rounded. max_deviation, steps: of each block, see `modular`; reach: how many steps the deviation may
    be. weights, and what is returned: as in `decode_modular`. A block that is not finite has a step that is not.
    """
    block = len(weights)
    if not len(values) == len(low) <= min(len(dithers), len(steps) * block) or len(steps) != len(max_deviation):
        raise ValueError("the arrays differ in length")
    checksum, half = u4(0), i4(1) << i4(width - 1)
    for which in range(len(steps)):
        start, stop = which * block, min(which * block + block, len(values))
        own, dither, own_low = values[start:stop], dithers[start:stop], low[start:stop]
        bits = own.view(np.uint32)
        largest_bits, in_block = u4(0), u4(0)
        for i in range(len(bits)):
            largest_bits = max(largest_bits, u4(bits[i] & _MAGNITUDE))
        largest = u4(largest_bits).view(np.float32)
        if largest_bits >= _INFINITY:
            steps[which] = -largest
            own_low[:] = 0
            continue
        by_itself = max(f4(largest / reach), _SMALLEST_STEP)
        near = max(f4(max_deviation[which] / reach), max(f4(largest * _FINEST), _SMALLEST_STEP))
        size = near if near < by_itself else by_itself
        steps[which] = size if near < by_itself else -size
        inverse = f4(f4(1) / size)
        for i in range(len(own)):
            whole = i4(np.rint(own[i] * inverse + dither[i]))
            own_low[i] = np.int8(whole)
            in_block = u4(in_block + u4(u4(i4(whole + half) >> i4(width)) * weights[i]))
        checksum = u4(u4(checksum * _NEXT_BLOCK) + in_block)
    return checksum


@compiled(types.uint32(_IN, _BYTES_IN, _IN, _IN, _OUT, _WEIGHTS, types.int32))
def decode_modular(
    steps: Vector,
    low: npt.NDArray[np.int8],
    dithers: Vector,
    reference: Vector,
    out: Vector,
    weights: npt.NDArray[np.uint32],
    width: int,
) -> np.uint32:
    """Writes the values, taking for each the number of wraps that comes nearest to `reference`; none in an absolute
    block.

    low: numbers of `width` bits. dithers: those with which the values were rounded, taken off again. weights: one for
    each value of a block. Returns the sum of the wraps modulo 2^32, in which each has the weight of its place in the
    block, and each block an odd multiple of the weight of the next one (a multilinear hash, Carter and Wegman 1979).
    """
    block = len(weights)
    if not len(out) == len(low) == len(reference) <= min(len(dithers), len(steps) * block):
        raise ValueError("the arrays differ in length")
    checksum, levels = u4(0), f4(i4(1) << i4(width))
    share = f4(f4(1) / levels)
    for which in range(len(steps)):
        start, stop = which * block, min(which * block + block, len(out))
        own_low, own_reference, own_out = low[start:stop], reference[start:stop], out[start:stop]
        dither = dithers[start:stop]
        size, in_block = f4(abs(steps[which])), u4(0)
        inverse = f4(f4(1) / size) if steps[which] > 0 else f4(0)
        for i in range(len(own_out)):
            number = f4(f4(own_low[i]) - dither[i])
            wraps = np.rint((own_reference[i] * inverse - number) * share)
            own_out[i] = (wraps * levels + number) * size
            bounded = wraps if wraps < _MOST_WRAPS else _MOST_WRAPS  # NaN, too
            bounded = bounded if bounded > -_MOST_WRAPS else -_MOST_WRAPS
            in_block = u4(in_block + u4(u4(i4(bounded)) * weights[i]))
        checksum = u4(u4(checksum * _NEXT_BLOCK) + in_block)
    return checksum


@compiled(types.void(_BYTES_IN, types.uint8[::1]))
def pack_pairs(low: npt.NDArray[np.int8], out: npt.NDArray[np.uint8]) -> None:
    """Two numbers of four bits in each byte: below one of the first half, above one of the second."""
    pairs = len(low) - len(out)
    if not 0 <= len(out) - pairs <= 1:
        raise ValueError("the arrays differ in length")
    first, second = low[: len(out)], low[len(out) :]
    for i in range(pairs):
        out[i] = np.uint8(first[i] & 15) | np.uint8((second[i] & 15) << 4)
    if len(out) > pairs:
        out[pairs] = np.uint8(first[pairs] & 15)


@compiled(types.void(_PAIRS_IN, types.int8[::1]))
def unpack_pairs(pairs: npt.NDArray[np.uint8], low: npt.NDArray[np.int8]) -> None:
    """The numbers, -8 to 7. Of an odd number of them, the upper bits of the last byte say nothing."""
    if not 0 <= 2 * len(pairs) - len(low) <= 1:
        raise ValueError("the arrays differ in length")
    first, second = low[: len(pairs)], low[len(pairs) :]
    for i in range(len(first)):
        first[i] = np.int8(np.int8(pairs[i] << 4) >> 4)
    for i in range(len(second)):
        second[i] = np.int8(np.int8(pairs[i]) >> 4)


@compiled(types.float64(_IN, _IN, _OUT, types.intp), sums_in_any_order=True)
def distance_in_blocks(values: Vector, others: Vector, largest: Vector, block: int) -> float:
    """The sum of the squared differences, and in `largest` of each block the largest difference that was seen yet."""
    if len(values) != len(others) or len(largest) * block < len(values):
        raise ValueError("the arrays differ in length")
    total = 0.0
    for which in range(len(largest)):
        start, stop = which * block, min(which * block + block, len(values))
        some, other = values[start:stop], others[start:stop]
        in_block, largest_bits = f4(0), f4(largest[which]).view(np.uint32)
        for i in range(len(some)):
            difference = f4(some[i] - other[i])
            in_block += difference * difference
            largest_bits = max(largest_bits, u4(difference.view(np.uint32) & _MAGNITUDE))
        total += np.float64(in_block)
        largest[which] = u4(largest_bits).view(np.float32)
    return total


@compiled(types.void(_IN, _WORDS_OUT))
def encode_float16(values: Vector, out: Words) -> None:
    """IEEE half precision, rounded to nearest even; finite values beyond 65504 become that."""
    if len(values) != len(out):
        raise ValueError("the arrays differ in length")
    bits = values.view(np.uint32)
    for i in range(len(values)):
        magnitude = u4(bits[i] & _MAGNITUDE)
        sign = u4(u4(bits[i] >> u4(16)) & u4(0x8000))
        # The exponent counts from another zero: 15 instead of 127. What is added makes the shift round to even.
        to_even = u4(u4(magnitude >> u4(13)) & u4(1))
        half = u4(u4(magnitude - u4(112 << 23) + u4(0xFFF) + to_even) >> u4(13))
        # Below 2^-14 numbers are evenly spaced, by 2^-24, as float32 is from 1/2 to 1.
        subnormal = u4(f4(np.abs(values[i]) + f4(0.5)).view(np.uint32) - u4(0x3F00_0000))
        half = subnormal if magnitude < u4(113 << 23) else half
        half = u4(0x7BFF) if half > u4(0x7BFF) else half
        half = u4(0x7C00) if magnitude == _INFINITY else half
        out[i] = u4(0x7E00) if magnitude > _INFINITY else u4(half | sign)


@compiled(types.void(_WORDS_IN, _OUT))
def decode_float16(halves: Words, out: Vector) -> None:
    """Exactly."""
    if len(halves) != len(out):
        raise ValueError("the arrays differ in length")
    bits = out.view(np.uint32)
    for i in range(len(out)):
        half = u4(halves[i])
        # Exponent and mantissa at their places in float32, where only the exponent counts from another zero.
        shifted = u4(u4(half & u4(0x7FFF)) << u4(13))
        magnitude = f4(shifted.view(np.float32) * f4(2.0**112)).view(np.uint32)
        magnitude = u4(shifted | _INFINITY) if shifted >= u4(0x7C00 << 13) else magnitude
        bits[i] = u4(magnitude | u4(u4(half & u4(0x8000)) << u4(16)))


@compiled(types.void(_IN, _WORDS_OUT))
def encode_bfloat16(values: Vector, out: Words) -> None:
    """The upper half of a float32, rounded to nearest even; finite values stay so."""
    if len(values) != len(out):
        raise ValueError("the arrays differ in length")
    bits = values.view(np.uint32)
    for i in range(len(values)):
        magnitude = u4(bits[i] & _MAGNITUDE)
        sign = u4(u4(bits[i] >> u4(16)) & u4(0x8000))
        upper = u4(u4(magnitude + u4(0x7FFF) + u4(u4(magnitude >> u4(16)) & u4(1))) >> u4(16))
        upper = u4(0x7F7F) if upper > u4(0x7F7F) else upper
        upper = u4(0x7F80) if magnitude == _INFINITY else upper
        out[i] = u4(0x7FC0) if magnitude > _INFINITY else u4(upper | sign)


@compiled(types.void(_WORDS_IN, _OUT))
def decode_bfloat16(halves: Words, out: Vector) -> None:
    """Exactly."""
    if len(halves) != len(out):
        raise ValueError("the arrays differ in length")
    bits = out.view(np.uint32)
    for i in range(len(out)):
        bits[i] = u4(u4(halves[i]) << u4(16))
