"""What of a training outlives its process: it is written to checkpoints, and a resumed run goes on from it.

Owns what belongs into a checkpoint, and that nothing is written that is not finite. How it is written is
`checkpoints`. Does not know when it is time to save, nor peers.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gossiptrain import events
from gossiptrain.errors import CheckpointError
from gossiptrain.training.bus import EventBus
from gossiptrain.training.compute import MixedPrecision
from gossiptrain.training.model.binding import not_finite
from gossiptrain.training.runs.checkpoint_state import Checkpoint, RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter
from gossiptrain.training.tasks.batches import TrainingBatches
from gossiptrain.training.tasks.task import Task


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands. step: counted on from the donor's; own_steps: made by this peer.

    rounds: committed ones. outer: what the strategy keeps, by names. round_counts: how far it is to the next round.
    """

    step: int = 0
    own_steps: int = 0
    rounds: int = 0
    outer: Mapping[str, Tensor] = field(default_factory=dict)
    round_counts: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Checkpointer:
    """Everything that has a state of its own, and where it is kept. Made before training begins."""

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: TrainingBatches
    precision: MixedPrecision
    checkpoints: CheckpointWriter
    bus: EventBus

    def __post_init__(self) -> None:
        # A mask of minus infinity, for example, says nothing of how training goes.
        self._never_finite = not_finite(self.model.named_buffers(remove_duplicate=False))

    def save(self, state: TrainingState, *, final: bool = False) -> Path | None:
        """Writes a checkpoint and says where it is; or tells why there is none, and training goes on either way.

        final: there is no later one, so that it is written to the folder for temporary files where it cannot be
        written to its own.
        """
        if not self._is_finite():
            reason = "the parameters are not finite; the last good checkpoint is kept"
            self.bus.emit(events.CheckpointFailed(step=state.step, reason=reason, final=final))
            return None
        path = self._written(self.checkpoints, state, final=final)
        if path is None and final:
            # A folder that nobody else can have made there.
            with contextlib.suppress(OSError):
                elsewhere = Path(tempfile.mkdtemp(prefix="gossiptrain-")) / "checkpoints"
                path = self._written(CheckpointWriter(elsewhere), state, final=final)
                if path is None:
                    elsewhere.parent.rmdir()
        return path

    def _written(self, checkpoints: CheckpointWriter, state: TrainingState, *, final: bool) -> Path | None:
        try:
            path = checkpoints.save(self.model, self.optimizer, state=self._state(state))
        except CheckpointError as error:
            self.bus.emit(events.CheckpointFailed(step=state.step, reason=error.what, final=final))
            return None
        self.bus.emit(events.CheckpointSaved(step=state.step, path=str(path)))
        return path

    def restore(self, checkpoint: Checkpoint) -> TrainingState:
        """Goes on from a checkpoint, which cannot be used again. Raises CheckpointMismatchError."""
        checkpoint.apply(self.model, self.optimizer, fingerprint=self.task.description)
        checkpoint.release()
        self.batches.restore(checkpoint.state.position)
        extra: dict[str, Any] = dict(checkpoint.state.extra)
        self.precision.restore(extra.get("precision", {}))
        step = checkpoint.state.step
        return TrainingState(
            step=step,
            own_steps=int(extra.get("own_steps", step)),
            rounds=checkpoint.state.rounds,
            outer=extra.get("outer", {}),
            round_counts=extra.get("round_counts", {}),
        )

    def _state(self, state: TrainingState) -> RunState:
        return RunState(
            task=self.task.name,
            fingerprint=self.task.description,
            step=state.step,
            epoch=state.own_steps / self.batches.steps_per_epoch,
            rounds=state.rounds,
            position=self.batches.state(),
            extra={
                "variant": self.task.variant,
                "own_steps": state.own_steps,
                "precision": self.precision.state(),
                "outer": dict(state.outer),
                "round_counts": dict(state.round_counts),
            },
        )

    def _is_finite(self) -> bool:
        return not_finite(self.model.state_dict().items()) <= self._never_finite
