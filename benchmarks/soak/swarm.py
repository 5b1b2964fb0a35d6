"""All peers of a soak: those that are there from the beginning, and guests that faults bring along.

Owns where they run and through whom they join. Does not know which faults there are, nor what is promised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.processes import NODE, Family

from benchmarks.namespaces import SwitchedHosts
from benchmarks.soak.peer import POLL_S, SoakPeer, give_priority


class SoakSwarm:
    """peers: of the beginning. network_is_disturbed: between the two hosts, by a fault that is not over."""

    def __init__(self, family: Family, *, epochs: int, hosts: SwitchedHosts | None = None) -> None:
        """epochs: of each peer's whole training; more than it comes to, so that nobody ends by itself."""
        self.peers: list[SoakPeer] = []
        self.guests: list[SoakPeer] = []
        self.hosts = hosts
        self._length = ("--epochs", str(epochs))
        self.network_is_disturbed = False
        self._family = family

    @property
    def everyone(self) -> list[SoakPeer]:
        """Peers and guests."""
        return [*self.peers, *self.guests]

    def begin(self, count: int) -> Iterator[float]:
        """Starts so many, and waits until each has had a round."""
        for number in range(count):
            peer = self._peer(self._family.folder / f"peer-{number:02}", host=number % 2)
            peer.start(*self._length, initial=self.any_address())
            self.peers.append(peer)
            # The first one is where all others join.
            while self.any_address() is None:
                yield POLL_S
        for peer in self.peers:
            while peer.lives[-1].first_round_s() is None:
                yield POLL_S

    def guest(self, *flags: str, folder: Path | None = None) -> SoakPeer:
        """Starts one more peer, which joins through one that lives."""
        number = len(self.guests)
        guest = self._peer(folder or self._family.folder / f"guest-{number:02}", host=number % 2)
        guest.is_busy = True
        self.guests.append(guest)
        guest.start(*self._length, *flags, initial=self.any_address(number % 2))
        return guest

    def share_processor(self) -> None:
        """Has trainers that train run only when nothing else does.

        One computer stands for many: who starts or averages would have cores of its own. Nodes that a trainer starts
        later would take after it.
        """
        for peer in self.everyone:
            peer.step_aside()
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        for member in self._family.members():
            if NODE in member.command:
                give_priority(member.pid, usual)

    def any_address(self, host: int | None = None) -> str | None:
        """Of a peer that is up and well, where it matters on that host."""
        well = (peer for number, peer in enumerate(self.peers) if not peer.is_busy and host in (None, number % 2))
        return next((address for peer in well if (address := peer.address())), None)

    def _peer(self, folder: Path, *, host: int) -> SoakPeer:
        return SoakPeer(self._family, folder, host=host, hosts=self.hosts)
