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

import numpy as np


def noloco_radius(alpha: float, gamma: float, contraction: float) -> float:
    """Factor by which NoLoCo (Kolehmainen et al. 2025) multiplies the squared disagreement in a round, in the long run.

    alpha: momentum. gamma: share of the way to the group's mean. Peers drift apart where the factor is 1 or more.

    With slow weights x and momentum m a round is m' = alpha m - gamma Qx, x' = x + m', where Q = 1 - P and
    E[Q] = q = 1 - contraction. For A = E|x|^2, C = E<x, m> and B = E|m|^2, with Q^2 = Q:

        A' = (1 - (2 gamma - gamma^2) q) A + 2 alpha (1 - gamma q) C + alpha^2 B
        C' = (gamma^2 - gamma) q A + (alpha - 2 alpha gamma q) C + alpha^2 B
        B' = gamma^2 q A - 2 alpha gamma q C + alpha^2 B

    The factor is the spectral radius of this matrix.
    """
    _check_contraction(contraction)
    q = 1.0 - contraction
    moments = np.array(
        [
            [1 - (2 * gamma - gamma**2) * q, 2 * alpha * (1 - gamma * q), alpha**2],
            [(gamma**2 - gamma) * q, alpha - 2 * alpha * gamma * q, alpha**2],
            [gamma**2 * q, -2 * alpha * gamma * q, alpha**2],
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


def steady_disagreement_step_mix(contraction: float, outer_learning_rate: float, momentum: float) -> float:
    """Squared disagreement after a round of Nesterov steps, taken by each peer alone, and averaging, in the long run.

    Unit: as for plain averaging. Finite for every momentum below 1, since the momentum never sees the disagreement.

    With the noise d, lr and mu: m' = mu m + d, x' = P(x + lr (d + mu m')) = P(x + lr mu^2 m + lr (1 + mu) d). For
    A = E|x|^2, C = E<x, m>, B = E|m|^2 that stay as they are from round to round:

        B = 1 / (1 - mu^2)
        C = contraction (mu C + lr mu^3 B + lr (1 + mu))
        A = contraction (A + 2 lr mu^2 C + lr^2 mu^4 B + lr^2 (1 + mu)^2)
    """
    _check_contraction(contraction)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and less than 1, not {momentum}")
    rate = outer_learning_rate
    squared_momentum = 1 / (1 - momentum**2)
    product = contraction * rate * (momentum**3 * squared_momentum + 1 + momentum) / (1 - contraction * momentum)
    injected = 2 * rate * momentum**2 * product + rate**2 * (momentum**4 * squared_momentum + (1 + momentum) ** 2)
    return steady_disagreement_average(contraction) * injected


def _check_contraction(contraction: float) -> None:
    if not 0 <= contraction <= 1:
        raise ValueError(f"a contraction lies between 0 and 1, not at {contraction}")
