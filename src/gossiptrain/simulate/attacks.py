"""What virtual peers that lie bring to their groups.

Owns the attacks. The attackers of a group act as one, and know what its honest members bring. Does not know guards.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from gossiptrain.core.averaging import Vector

AttackName: TypeAlias = Literal["noise", "scale", "sign-flip", "nan", "huge", "alie", "ipm", "drift"]
Matrix: TypeAlias = npt.NDArray[np.float32]

NOISE = 10.0
"""Times as large as the own values."""
SCALE = 1e4
HUGE = 1e30
STANDARD_DEVIATIONS = 1.5
"""From the mean of the honest, in ALIE: few enough to look like one of them."""
REVERSED_SHARE = 0.5
"""Of the honest mean step, backwards, in IPM."""


class Attack:
    """One attack, by the same attackers in all rounds.

    noise: own values plus noise ten times as large. scale: own values x 10,000. sign-flip: own values with the other
    sign. nan, huge: nothing but NaN; 1e30. alie: the mean of the honest less 1.5 standard deviations in each coordinate
    ("a little is enough", Baruch et al. 2019). ipm: half the mean step of the honest, backwards (inner product
    manipulation, Xie et al. 2020). drift: the mean of the honest, and as far from it as their step was long, always in
    the same direction.
    """

    def __init__(self, name: AttackName, *, elements: int, seed: int) -> None:
        self._name = name
        self._rng = np.random.default_rng(seed)
        direction = self._rng.standard_normal(elements)
        self._direction = direction / np.linalg.norm(direction)

    def values(self, own: Vector, honest: Matrix, before: Vector) -> Vector:
        """What an attacker brings [elements], which would honestly bring `own`.

        honest: what the honest members of its group bring [members, elements], at least one. before: the mean of where
        these began.
        """
        mean = honest.mean(axis=0)
        match self._name:
            case "noise":
                size = np.sqrt(np.mean(np.square(own)))
                lie = own + NOISE * size * self._rng.standard_normal(len(own))
            case "scale":
                lie = np.float32(SCALE) * own
            case "sign-flip":
                lie = -own
            case "nan":
                lie = np.full_like(own, np.nan)
            case "huge":
                lie = np.full_like(own, HUGE)
            case "alie":
                lie = mean - STANDARD_DEVIATIONS * honest.std(axis=0)
            case "ipm":
                lie = before - REVERSED_SHARE * (mean - before)
            case "drift":
                lie = mean + np.linalg.norm(mean - before) * self._direction
        return np.asarray(lie, np.float32)
