"""The guards of all virtual peers: what `training.guarding` is for a real one.

Owns where each peer stood after the last average that it took, and its history. Does not know who is honest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap

import numpy as np
import torch
from torch import Tensor

from gossiptrain.config import GuardName
from gossiptrain.core.movement import Distances, MovementHistory, Radii, Usual, Way


class VirtualGuards:
    """Of all peers; the rows of matrices are peers."""

    def __init__(self, values: Tensor, lengths: Sequence[int]) -> None:
        """values: where they begin [peers, elements]. lengths: elements of each part."""
        self._lengths = lengths
        self._anchors = values.clone()
        self._begun = values.clone()
        self._histories = [MovementHistory(lengths) for _ in values]
        self._learnt: Distances = np.zeros((len(values), len(lengths)))

    @property
    def anchors(self) -> Tensor:
        """Where each peer stood after the last average that it took."""
        return self._anchors

    def see(self, shared: Tensor) -> None:
        """A round begins, for which the peers have prepared these values."""
        self._learnt = self._distances(shared - self._anchors)
        for history, way in zip(self._histories, self._distances(shared - self._begun), strict=True):
            history.offer(way)
        self._begun.copy_(shared)

    def _usual(self, peer: int, guard: GuardName, *, pace: float = 1.0) -> Usual | None:
        return self._histories[peer].usual(self._learnt[peer], guard, pace=pace)

    def radii(self, peer: int) -> Radii | None:
        """How far contributions may be from this peer's own values; None where nothing is known yet."""
        usual = self._usual(peer, "clip")
        return Radii(self._lengths, usual.reach) if usual is not None else None

    def allowed(
        self, rows: Sequence[int], shown: Tensor, average: Tensor, *, paces: Mapping[int, float], clip: bool
    ) -> Distances:
        """How much of its way to the average each peer goes, part by part [rows, parts].

        paces: how many times as many samples as each of these peers a usual member of its group has seen.
        shown, average: of these peers [rows, elements]. clip: whether only what is unusual is left; otherwise nothing
        is taken then.
        """
        found = np.ones((len(rows), len(self._lengths)))
        for place, (peer, way) in enumerate(zip(rows, self._ways(shown, average), strict=True)):
            usual = self._usual(peer, "clip" if clip else "result", pace=paces[peer])
            if usual is None:
                continue
            if clip:
                found[place] = usual.shares(way)
            elif not usual.allows(way):
                found[place] = 0.0
        return found

    def note(self, rows: Sequence[int], way: Tensor, positions: Tensor) -> None:
        """These peers have gone this way, and stand there."""
        for peer, moved in zip(rows, self._distances(way), strict=True):
            self._histories[peer].note(moved)
        self._anchors[list(rows)] = positions
        self._begun[list(rows)] = positions

    def elementwise(self, shares: Distances) -> Tensor:
        """Numbers by part [rows, parts] as numbers by element [rows, elements]."""
        lengths = torch.tensor(self._lengths)
        return torch.from_numpy(shares).float().repeat_interleave(lengths, dim=1)

    def _ways(self, shown: Tensor, average: Tensor) -> list[Way]:
        difference = average - shown
        back, own = self._sums(-difference * shown), self._sums(shown.square())
        return list(starmap(Way, zip(self._distances(difference), back, own, strict=True)))

    def _distances(self, differences: Tensor) -> Distances:
        return np.asarray(np.sqrt(self._sums(differences.square())))

    def _sums(self, values: Tensor) -> Distances:
        parts = torch.split(values, list(self._lengths), dim=1)
        return np.stack([part.sum(dim=1, dtype=torch.float64).cpu().numpy() for part in parts], axis=1)
