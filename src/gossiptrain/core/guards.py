"""What a contribution must be before it may touch the average, and how far it may pull.

Owns the checks on values, and clipping around the own ones. Does not know who sent them, nor how far is usual: that is
`movement`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gossiptrain.core.averaging import Vector
from gossiptrain.core.movement import Way

LARGEST = 1e12
"""No value of a model that trains is larger. The squares of so many as a chunk holds still fit in float32."""


def is_finite(vector: Vector) -> bool:
    """Whether the vector holds neither NaN nor infinity.

    A sum of squares is finite only if every term is, and costs a hundredth of testing each element. Where it is not,
    values beyond 1e16 may have made it overflow: then a sum in float64 decides, which float32 values cannot overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(float(np.dot(vector, vector))) or math.isfinite(float(np.sum(vector, dtype=np.float64)))


def is_sound(vector: Vector) -> bool:
    """Whether the vector is finite and holds nothing beyond `LARGEST`."""
    with np.errstate(over="ignore", invalid="ignore"):
        if float(np.dot(vector, vector)) <= LARGEST**2:
            return True
    return is_finite(vector) and float(np.abs(vector).max(initial=0.0)) <= LARGEST


def clip_around(own: Vector, part: Vector, radius: float, *, scratch: Vector) -> bool:
    """Moves `part` towards `own` until it is no further away than `radius`. False where it is not sound.

    ClippedGossip (He, Karimireddy, Jaggi 2022): own + min(1, radius / |part - own|) (part - own). A part within the
    radius stays as it is, bit by bit. One that points away from the own values becomes these, however near it is: early
    in training the negative of all values is no further away than what others have learnt. scratch: memory as long as
    they are.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(part, own, out=scratch)
        distance = float(np.sqrt(np.dot(scratch, scratch)))
    if not distance <= LARGEST:
        return False
    if float(np.dot(own, part)) < 0:
        np.copyto(part, own)
    elif distance > radius:
        np.multiply(scratch, np.float32(radius / distance), out=scratch)
        np.add(own, scratch, out=part)
    return True


def way_between(own: Vector, average: Vector, lengths: Sequence[int]) -> Way:
    """From the own values to an average, in each of their parts. lengths: elements of these."""
    squares, products, own_squares = np.empty((3, len(lengths)))
    scratch = np.empty(max(lengths), np.float32)
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for number, elements in enumerate(lengths):
            part, difference = own[start : start + elements], scratch[:elements]
            np.subtract(average[start : start + elements], part, out=difference)
            squares[number] = np.dot(difference, difference)
            products[number] = np.dot(difference, part)
            own_squares[number] = np.dot(part, part)
            start += elements
    return Way(np.sqrt(squares), -products, own_squares)
