"""Who of the virtual peers lies, and what the others are shown in their place.

Owns how an attack enters a round. Does not know what lies consist of: that is `attacks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossiptrain.simulate.attacks import Attack, AttackName

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Liars:
    """The last `count` peers. attack: None where they do as the others do. owners_lie: in reducing, too."""

    count: int = 0
    attack: AttackName | None = None
    owners_lie: bool = False


NOBODY = Liars()


class Lies:
    """What they show."""

    def __init__(self, liars: Liars, *, peers: int, elements: int, seed: int) -> None:
        self._liars = liars
        self.honest = range(peers - liars.count)
        self._attack = None if liars.attack is None else Attack(liars.attack, elements=elements, seed=seed)

    def owner_lies(self, peer: int) -> bool:
        """Whether it gives back a wrong mean of its slice."""
        return self._attack is not None and self._liars.owners_lie and peer not in self.honest

    def shown(self, groups: Sequence[Sequence[int]], snapshots: Matrix, anchors: Matrix) -> Matrix:
        """What the peers bring to their groups [peers, elements]. anchors: where they stood after
        the last average that they took.

        Attackers among themselves have nobody to lie to.
        """
        if self._attack is None:
            return snapshots
        shown = snapshots.copy()
        for group in groups:
            honest = [peer for peer in group if peer in self.honest]
            if not honest:
                continue
            before = anchors[honest].mean(axis=0)
            for peer in group:
                if peer not in self.honest:
                    shown[peer] = self._attack.values(snapshots[peer], snapshots[honest], before)
        return shown
