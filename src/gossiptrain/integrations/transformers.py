"""The Trainer of Hugging Face transformers in a swarm, and TRL's trainers, which inherit from it.

    from gossiptrain.integrations.transformers import GossipCallback

    Trainer(..., callbacks=[GossipCallback(run="mine", initial_peers=[...], every_steps=50)])

Owns which of the Trainer's events means what for the swarm. Does not know the swarm: that is `hosted`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gossiptrain.integrations.hosted import HostedSwarm
from gossiptrain.integrations.state_file import read_state, write_state
from gossiptrain.training.membership import Gossip

_logger = logging.getLogger(__package__)


class GossipCallback(TrainerCallback):
    """Trains the Trainer's model together with the other peers of the run.

    Joins when training begins, once the Trainer has made its optimizer; makes the last rounds and leaves when it ends,
    so the model that `trainer.save_model()` saves afterwards is that of all. What the outer step needs is kept in each
    checkpoint and taken from it again. Evaluations serve newcomers meanwhile, and the figures of the swarm stand in the
    Trainer's log. A step of the swarm is one of the optimizer, however many batches are accumulated for it.
    """

    def __init__(self, **arguments: Any) -> None:
        """arguments: those of `gossiptrain.gossip` but for model and optimizer."""
        self._hosted = HostedSwarm(arguments)

    @property
    def swarm(self) -> Gossip | None:
        """The swarm, once training has begun."""
        return self._hosted.swarm

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Joins. Raises what entering the block of `gossip()` raises, and CheckpointError."""
        if state.global_step:
            self._resume(args, state)
        samples = args.train_batch_size * args.gradient_accumulation_steps
        self._hosted.enter(given["model"], given["optimizer"], samples_per_step=samples, done=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """One step of the optimizer is over; the swarm has noticed it itself."""
        self._hosted.expect_end(done=state.global_step, of=state.max_steps)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """One batch of an evaluation is over."""
        self._hosted.listen()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **given: Any,
    ) -> None:
        """Adds the figures of the swarm to what is logged."""
        if logs is not None and "loss" in logs:
            self._hosted.show_loss(logs["loss"])
            figures = self._hosted.figures()
            logs.update(figures)
            state.log_history[-1].update(figures)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """The Trainer has written a checkpoint."""
        kept = self._hosted.state()
        if kept:
            write_state(_checkpoint(args, state), kept)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Waits for others that end as well, merges with them, and leaves."""
        self._hosted.leave(orderly=True)

    def _resume(self, args: TrainingArguments, state: TrainerState) -> None:
        given = args.resume_from_checkpoint
        folders = [Path(given)] if isinstance(given, str) else []
        for folder in [*folders, _checkpoint(args, state)]:
            if (kept := read_state(folder)) is not None:
                self._hosted.resume(kept)
                return
        _logger.warning(
            "the checkpoint that the Trainer resumes holds nothing of the swarm: the outer step begins anew"
        )


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the Trainer keeps the checkpoint of the step at which it stands."""
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
