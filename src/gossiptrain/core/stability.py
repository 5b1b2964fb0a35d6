"""Whether disagreement dies out under an outer optimizer, and how much of it is left in the long run.

Owns the formulas. Does not know peers, groups or parameters: of a round it knows `contraction`, the expected factor by
which averaging alone shrinks the variance among peers, see `averaging.expected_contraction`.

All of them follow from one fact. P replaces the values of a group's members by their mean. It is a projection, and for
random groups that do not depend on the values E[P] = contraction on the part of the values that sums to zero over the
peers: E|Px|^2 = E<x, Px> = contraction |x|^2, and so E<Px, y> = contraction <x, y>. An outer optimizer is linear, so
second moments of that part after a round are linear in those before. The objective is taken as flat: what peers learn
in a round is noise of its own for each peer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

MOST_KEPT = 0.95
"""Of squared disagreement, by a round, for an agreement to count as stable: at 1 it would never settle."""
HALVINGS = 20
"""Of the interval in which an agreement is looked for: more than a float32 can tell apart."""


def noloco_radius(momentum: float, learning_rate: float, contraction: float) -> float:
    """Factor by which NoLoCo (Kolehmainen et al. 2025) multiplies the squared disagreement in a round, in the long run.

    momentum, learning_rate: of the outer step; the latter is here the share of the way to the group's mean. Peers
    drift apart where the factor is 1 or more.

    With mu, lr for these, slow weights x and momentum m, a round is m' = mu m - lr Qx, x' = x + m', where
    Q = 1 - P and E[Q] = q = 1 - contraction. For A = E|x|^2, C = E<x, m> and B = E|m|^2, with Q^2 = Q:

        A' = (1 - (2 lr - lr^2) q) A + 2 mu (1 - lr q) C + mu^2 B
        C' = (lr^2 - lr) q A + (mu - 2 mu lr q) C + mu^2 B
        B' = lr^2 q A - 2 mu lr q C + mu^2 B

    The factor is the spectral radius of this matrix.
    """
    _check_contraction(contraction)
    q, mu, lr = 1.0 - contraction, momentum, learning_rate
    moments = np.array(
        [
            [1 - (2 * lr - lr**2) * q, 2 * mu * (1 - lr * q), mu**2],
            [(lr**2 - lr) * q, mu - 2 * mu * lr * q, mu**2],
            [lr**2 * q, -2 * mu * lr * q, mu**2],
        ]
    )
    return float(np.abs(np.linalg.eigvals(moments)).max())


def steady_disagreement_average(contraction: float) -> float:
    """Squared disagreement after a round of plain averaging, in the long run; infinite where peers never meet.

    Unit: the squared disagreement of what peers learn between two rounds, that is their variance times (N - 1) / N.
    From x' = P(x + noise): A = contraction (A + 1).
    """
    _check_contraction(contraction)
    return contraction / (1 - contraction) if contraction < 1 else math.inf


@dataclass(frozen=True)
class StepMixMoments:
    """How the disagreement of slow weights x and momenta m goes on from round to round in step-mix.

    immediate, remembered, momentum: of the outer step, a, b and mu. agreement: p, the share of what the group's steps
    differ by that goes into the momenta, 0 for momenta that never meet; see `strategies.StepMix`.

    With d for what is learnt, a round is

        m1 = mu m + d,  z = x + a d + b m,  x' = Pz,  m' = m1 - p (z - Pz)

    and so, for A = E|x|^2, C = E<x, m>, B = E|m|^2 and a contraction rho,

        A' = rho |z|^2,  C' = rho <z, m1>,  B' = |m1|^2 - 2 p (1 - rho) <z, m1> + p^2 (1 - rho) |z|^2
    """

    immediate: float
    remembered: float
    momentum: float
    agreement: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and less than 1, not {self.momentum}")

    def radius(self, contraction: float) -> float:
        """Factor by which squared disagreement is multiplied in a round, in the long run, where nothing is learnt."""
        lasting, _ = self._round(contraction)
        return float(np.abs(np.linalg.eigvals(lasting)).max())

    def steady(self, contraction: float) -> tuple[float, float]:
        """Squared disagreement of slow weights and of momenta after a round, in the long run.

        Unit: as for plain averaging. Infinite where it never settles.
        """
        lasting, learnt = self._round(contraction)
        if np.abs(np.linalg.eigvals(lasting)).max() >= 1:
            return math.inf, math.inf
        weights, _, momenta = np.linalg.solve(np.eye(3) - lasting, learnt)
        return float(weights), float(momenta)

    def stable_agreement(self, contraction: float) -> float:
        """The largest agreement that is worth anything, 1 / a, or the largest one with which disagreement dies out at
        this contraction where that is less."""

        def is_stable(agreement: float) -> bool:
            return replace(self, agreement=agreement).radius(contraction) <= MOST_KEPT

        stable, most = self.lasting_agreement, 1 / self.immediate
        if is_stable(most):
            return most
        for _ in range(HALVINGS):
            middle = (stable + most) / 2
            stable, most = (middle, most) if is_stable(middle) else (stable, middle)
        return stable

    @property
    def lasting_agreement(self) -> float:
        """The largest agreement with which disagreement dies out however seldom peers meet.

        Part of what the group's steps differ by is a difference of slow weights, which averaging has just removed, and
        is taken for one of momenta. It comes back p b / (1 - mu) times as large over the rounds that follow: never more
        than there was with p = (1 - mu) / b.
        """
        most = 1 / self.immediate
        return min(most, (1 - self.momentum) / self.remembered) if self.remembered > 0 else most

    def _round(self, contraction: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """What a round makes of (A, C, B), and what it adds."""
        _check_contraction(contraction)
        mu, kept, step = self.momentum, self.remembered, self.immediate
        pull, away = self.agreement, 1 - contraction
        # Rows of |z|^2, <z, m1> and |m1|^2 in terms of (A, C, B), and of the noise.
        square, product, own = np.array([[1, 2 * kept, kept**2], [0, mu, mu * kept], [0, 0, mu**2]])
        lasting = np.array(
            [contraction * square, contraction * product, own - 2 * pull * away * product + pull**2 * away * square]
        )
        learnt = np.array(
            [contraction * step**2, contraction * step, 1 - 2 * pull * away * step + pull**2 * away * step**2]
        )
        return lasting, learnt


def _check_contraction(contraction: float) -> None:
    if not 0 <= contraction <= 1:
        raise ValueError(f"a contraction lies between 0 and 1, not at {contraction}")
