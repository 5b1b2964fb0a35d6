"""What a contribution must be before it may touch the average.

Owns the checks on values. Does not know who sent them.
"""

from __future__ import annotations

import math

import numpy as np

from gossiptrain.core.averaging import Vector


def is_finite(vector: Vector) -> bool:
    """Whether the vector holds neither NaN nor infinity.

    A sum is finite only if every term is, and costs a tenth of testing each element. The sum is taken in float64,
    which the largest float32 values cannot overflow.
    """
    return math.isfinite(float(np.sum(vector, dtype=np.float64)))
