"""Where the other members of a round stand, as far as this one has found out.

Owns the one table of those that are gone for the round, and in which way. Does not know how it is found out, nor what
follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from gossiptrain.net.transport import PeerId


class Standing(IntEnum):
    """How a member is gone, the strongest evidence last."""

    SILENT = 1
    """It does not answer."""
    ELSEWHERE = 2
    """It lives, and said that it takes no part any more: it has started anew, or given the round up."""
    HELD_UP = 3
    """It went on answering, but did not do its part."""


class Standings:
    """The members that are gone for one round; of what was found out of each of them, the strongest stays."""

    def __init__(self) -> None:
        self._found: dict[PeerId, Standing] = {}

    def note(self, peers: Iterable[PeerId], standing: Standing) -> None:
        """These are gone in this way."""
        self.update(dict.fromkeys(peers, standing))

    def update(self, found: Mapping[PeerId, Standing]) -> None:
        """Takes in what was found out of several members."""
        for peer, standing in found.items():
            self._found[peer] = max(standing, self._found.get(peer, standing))

    @property
    def gone(self) -> frozenset[PeerId]:
        """All that take no part in the round any more, in whatever way."""
        return frozenset(self._found)

    def those(self, standing: Standing) -> frozenset[PeerId]:
        """The ones that are gone in this way."""
        return frozenset(peer for peer, found in self._found.items() if found == standing)
