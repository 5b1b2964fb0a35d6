"""What a contribution must be before it may touch the average.

Owns the checks on values. Does not know who sent them.
"""

from __future__ import annotations

import math

import numpy as np

from gossiptrain.core.averaging import Vector


def is_finite(vector: Vector) -> bool:
    """Whether the vector holds neither NaN nor infinity.

    A sum of squares is finite only if every term is, and costs a hundredth of testing each element. Where it is not,
    values beyond 1e16 may have made it overflow: then a sum in float64 decides, which float32 values cannot overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(float(np.dot(vector, vector))) or math.isfinite(float(np.sum(vector, dtype=np.float64)))
