"""What each peer counts between rounds: steps and samples, and what follows from them.

Owns for all virtual peers what `training.rounds` owns for a real one: how much a contribution weighs, how long its way
was, how far a late average is taken. Does not know parameters.
"""

from __future__ import annotations

import statistics
from collections.abc import Container, Sequence
from dataclasses import dataclass

from gossiptrain.core.averaging import clipped_weight
from gossiptrain.simulate.virtual_peers import VirtualPeers
from gossiptrain.training.model.local_work import late_share, lateness, met_lately


@dataclass
class _Counter:
    """Own steps of a peer at its last snapshot and at its last committed round, and what its last group had seen."""

    snapshot_step: int = 0
    interval_steps: int | None = None
    """Between the last two snapshots."""
    committed_step: int = 0
    late: float = 0.0
    """By how much its last average was, see `LocalWork`."""
    median_samples: float = 0.0


class Counters:
    """The counts of all virtual peers. every_steps: between two rounds, of a peer of usual speed. weighs_average:
    whether groups weigh their members, or peers their own steps."""

    def __init__(self, virtual_peers: VirtualPeers, *, every_steps: int, batch: int, weighs_average: bool) -> None:
        self._virtual_peers = virtual_peers
        self._weighs_average = weighs_average
        self._every_steps = every_steps
        self._batch = batch
        self._of = [_Counter() for _ in range(virtual_peers.peers)]

    def samples(self, peer: int) -> int:
        """By which a contribution weighs: seen since the last committed round, up to the snapshot; where peers weigh
        their own steps, those of a usual round."""
        counter = self._of[peer]
        if not self._weighs_average:
            return round(self._usual_steps(peer) * self._batch)
        return (counter.snapshot_step - counter.committed_step) * self._batch

    def weight(self, peer: int) -> float:
        """Of the peer's own step: 1 where groups weigh their members."""
        return 1.0 if self._weighs_average else clipped_weight(self.samples(peer), self._of[peer].median_samples)

    def horizon(self, peer: int) -> float:
        """The steps since the last snapshot, relative to the usual number."""
        steps = self._virtual_peers.steps_of(peer) - self._of[peer].snapshot_step
        return steps / self._usual_steps(peer) if steps else 1.0

    def late_share(self, peer: int) -> float:
        """How far an average of the last snapshot is taken now."""
        counter = self._of[peer]
        steps_late = self._virtual_peers.steps_of(peer) - counter.snapshot_step
        return late_share(steps_late, interval_steps=counter.interval_steps, usual_steps=self._usual_steps(peer))

    def has_met_lately(self, peer: int) -> bool:
        """Whether a peer whose round commits now has met in one of its last three, too."""
        counter = self._of[peer]
        return met_lately(counter.snapshot_step - counter.committed_step, self._usual_steps(peer))

    def late(self, peer: int) -> float:
        """How late the last average that the peer took was."""
        return self._of[peer].late

    def snapshot_taken(self, peers: Sequence[int]) -> None:
        """All these begin a round."""
        for peer in peers:
            counter, step = self._of[peer], self._virtual_peers.steps_of(peer)
            counter.interval_steps = step - counter.snapshot_step if counter.snapshot_step else None
            counter.snapshot_step = step

    def paces(self, groups: Sequence[Sequence[int]]) -> dict[int, float]:
        """By peer, how many times as many samples a usual member of its group has seen."""
        found: dict[int, float] = {}
        for group in groups:
            samples = [self.samples(peer) for peer in group]
            middle = statistics.median(samples)
            found |= {peer: middle / max(1, own) for peer, own in zip(group, samples, strict=True)}
        return found

    def round_committed(self, group: Sequence[int], takers: Container[int]) -> None:
        """Of this group these have taken the average."""
        median = statistics.median([self.samples(peer) for peer in group])
        for peer in filter(takers.__contains__, group):
            counter, step = self._of[peer], self._virtual_peers.steps_of(peer)
            counter.late = lateness(
                step - counter.snapshot_step,
                interval_steps=counter.interval_steps,
                usual_steps=self._usual_steps(peer),
            )
            counter.committed_step = step
            counter.median_samples = median

    def _usual_steps(self, peer: int) -> float:
        return self._every_steps * self._virtual_peers.speeds[peer]
