"""Lightning's Trainer in a swarm.

    from gossiptrain.integrations.lightning import GossipCallback

    Trainer(..., callbacks=[GossipCallback(run="mine", initial_peers=[...], every_steps=50)])

Owns which of Lightning's hooks means what for the swarm. Does not know the swarm: that is `hosted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gossiptrain.integrations.hosted import HostedSwarm
from gossiptrain.training.membership import Gossip


class GossipCallback(Callback):
    """Trains the LightningModule together with the other peers of the run.

    Joins when `fit` begins to train, makes the last rounds and leaves when it has trained. Its state is part of
    Lightning's own checkpoints. Where there are several optimizers, a step of the last one ends an inner step.
    """

    def __init__(self, *, samples_per_step: int = 1, **arguments: Any) -> None:
        """samples_per_step, arguments: those of `gossiptrain.gossip` but for model and optimizer."""
        self._hosted = HostedSwarm(arguments)
        self._samples_per_step = samples_per_step

    @property
    def swarm(self) -> Gossip | None:
        """The swarm, once training has begun."""
        return self._hosted.swarm

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins. Raises what entering the block of `gossip()` raises."""
        self._hosted.enter(
            pl_module, trainer.optimizers, samples_per_step=self._samples_per_step, done=trainer.global_step
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tells others when the end is near, and the log how the swarm is."""
        steps = trainer.estimated_stepping_batches
        self._hosted.expect_end(done=trainer.global_step, of=int(steps) if steps < float("inf") else 0)
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:
            self._hosted.show_loss(outputs.get("loss") if isinstance(outputs, Mapping) else outputs)
            pl_module.log_dict(self._hosted.figures())

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *given: Any, **named: Any) -> None:
        """One batch of an evaluation is over."""
        self._hosted.listen()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Waits for others that end as well, merges with them, and leaves."""
        self._hosted.leave(orderly=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves at once, and keeps nobody waiting."""
        self._hosted.leave(orderly=False)

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoint."""
        return self._hosted.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From Lightning's checkpoint, before training begins."""
        if state_dict:
            self._hosted.resume(state_dict)
