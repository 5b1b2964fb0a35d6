"""Rounds of averaging on bare numbers: the package's groups, applied to values and to matrices.

Owns the arithmetic of a round among peers numbered 0 to n - 1. A value of a peer may be a number or a row of numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gossiptrain.config import GroupingName
from gossiptrain.core.grouping import GroupLimits, form_groups

Values = npt.NDArray[np.float64]
Peers = npt.NDArray[np.intp]


@dataclass
class Meetings:
    """Who meets whom in the rounds of one run, as the package's coordinators divide the peers that are there."""

    grouping: GroupingName
    size: int
    seed: int = 0
    _last_groups: dict[str, str] = field(default_factory=dict)

    def groups(self, present: Collection[int], round_number: int) -> list[Peers]:
        """The groups of one round; whoever is in none keeps its value."""
        formed = form_groups(
            [str(peer) for peer in present],
            limits=GroupLimits(2, self.size),
            run="papers",
            round_number=round_number,
            seed=self.seed,
            grouping=self.grouping,
            last_groups=self._last_groups,
        )
        for number, group in enumerate(formed.groups):
            self._last_groups |= dict.fromkeys(group, f"{round_number}/{number}")
        return [np.array([int(name) for name in group], dtype=np.intp) for group in formed.groups]


def averaged(values: Values, groups: Sequence[Peers]) -> Values:
    """The values after every group has replaced its members' by their mean."""
    result = values.copy()
    for group in groups:
        result[group] = values[group].mean(axis=0)
    return result


def mixing_matrix(peers: int, groups: Sequence[Peers]) -> Values:
    """What a round multiplies the peers' values by."""
    return averaged(np.eye(peers), groups)


def variance_left(matrix: Values) -> float:
    """Expected share of the variance of independent values that is left after they are multiplied by `matrix`."""
    return float(((matrix - matrix.mean(axis=0)) ** 2).sum() / (len(matrix) - 1))


def steady_disagreement(peers: int, meetings: Meetings, *, absence: float, rounds: int) -> float:
    """Mean variance among peers after a round where each drifts by noise of variance 1 between two rounds.

    absence: chance of a peer to stay away from a round. The noise is not drawn: its covariance is followed exactly, so
    only groups and absences are random. The first sixth of the rounds does not count.
    """
    rng = np.random.default_rng(peers)
    covariance = np.zeros((peers, peers))
    found = []
    for round_number in range(rounds):
        present = np.flatnonzero(rng.random(peers) >= absence).tolist()
        matrix = mixing_matrix(peers, meetings.groups(present, round_number))
        covariance = matrix @ (covariance + np.eye(peers)) @ matrix.T
        found.append((np.trace(covariance) - covariance.sum() / peers) / (peers - 1))
    return float(np.mean(found[rounds // 6 :]))


def in_random_groups(values: Values, groups: int, rng: np.random.Generator) -> Values:
    """One round for many swarms at once, one in each row: each is divided into random groups of equal size."""
    order = rng.random(values.shape).argsort(axis=1)
    dealt = np.take_along_axis(values, order, axis=1).reshape(len(values), groups, -1)
    means = np.broadcast_to(dealt.mean(axis=2, keepdims=True), dealt.shape).reshape(values.shape)
    result = np.empty_like(values)
    np.put_along_axis(result, order, means, axis=1)
    return result


def variance_among_peers(values: Values) -> float:
    """Mean over the rows of the unbiased variance among the peers of a row."""
    return float(values.var(axis=1, ddof=1).mean())
