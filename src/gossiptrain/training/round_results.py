"""What came of a trainer's rounds: how many were committed, and what they cost, showed and did to averaged adapters.

Owns these figures, and the means of the model that follow its rounds. Does not know when a round is due, nor what it
does to the model: that is `rounds`.
"""

from __future__ import annotations

from torch import nn

from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.training import news
from gossiptrain.training.bus import EventBus
from gossiptrain.training.model.adapters import AdapterPairs
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.smooth import Smooth


class RoundResults:
    """Of one trainer, from its first round on."""

    def __init__(self, binding: ModelBinding, bus: EventBus, *, fragments: int) -> None:
        """fragments: in how many of them the model travels."""
        self.committed = 0
        """Rounds whose average was taken."""
        self.bytes_sent = 0
        self.disagreement: float | None = None
        """Of the last committed round."""
        self.adapter_error: float | None = None
        """Of the last committed round; see `AdapterPairs.bilinear_error`."""
        self.last: AveragedRound | None = None
        """The one that ended last; None where it found no group, or nothing of it was taken."""
        self._binding = binding
        self._bus = bus
        self._pairs = AdapterPairs(binding.tensors if fragments == 1 else ())
        self._smooths: list[Smooth] = []

    def smooth(self, model: nn.Module, *, rounds: int) -> Smooth:
        """The mean of the model over its rounds from now on."""
        self._smooths.append(Smooth(model, self._binding, rounds=rounds))
        return self._smooths[-1]

    def note_average(self, averaged: AveragedRound, memory: Buffers) -> None:
        """A round was committed; `memory` still holds what this peer brought, and the average."""
        self.bytes_sent += averaged.result.bytes_sent
        self.disagreement = averaged.result.disagreement
        before = self.adapter_error
        self.adapter_error = self._pairs.bilinear_error(memory.snapshot, memory.average) if self._pairs else None
        news.tell_adapters(self._bus, before=before, now=self.adapter_error)

    def note_taken(self, averaged: AveragedRound) -> None:
        """The model holds the average, or a part of it."""
        self.last = averaged
        self.committed += 1
        for smooth in self._smooths:
            smooth.note()
