"""A checkpoint in memory: where a run stands, and how that is put into a model, an optimizer and the random generators.

Owns the comparison of what was saved with what is to take it, so that all of it is taken or nothing. Does not know how
a checkpoint is kept on disk.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.training.runs.checkpoint_folders import STATE_FILE, corrupt
from gossiptrain.training.runs.random_states import check_random_states, restore_random_states


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where a run stands, beside model and optimizer.

    The dicts hold what their owners need to go on: None, bool, int, float, str, tensors, and lists, tuples and dicts
    of these. fingerprint: names the model and task, see `core`. epoch: how often the data were seen.
    """

    task: str
    fingerprint: str
    step: int
    epoch: float = 0.0
    rounds: int = 0
    position: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was read and verified. Its tensors are on the CPU and shared with nothing."""

    path: Path
    state: RunState
    _model: dict[str, Tensor]
    _optimizer: dict[str, Any] | None
    _optimizer_kind: str
    _random: Mapping[str, Any]

    def check(self) -> None:
        """Raises ValueError where an entry is of another kind than it has to be: a checksum does not tell by whom."""
        state, optimizer = self.state, self._optimizer
        counts, texts = (state.step, state.rounds), (state.task, state.fingerprint, self._optimizer_kind)
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("the step or the number of rounds is no count")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a name is no text")
        if type(state.epoch) not in (int, float):
            raise ValueError("the epoch is no number")
        if not all(isinstance(part, Mapping) for part in (state.position, state.schedule, state.extra)):
            raise ValueError("a part of the state is no dictionary")
        if optimizer is not None and not (
            isinstance(optimizer["state"], Mapping)
            and isinstance(optimizer["param_groups"], list)
            and all(isinstance(group["params"], list) for group in optimizer["param_groups"])
        ):
            raise ValueError("the state of the optimizer is none")
        check_random_states(self._random)

    def model_state(self) -> dict[str, Tensor]:
        """The whole state dict of the model. Tied tensors are one tensor under several names."""
        return dict(self._model)

    def apply(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        fingerprint: str | None = None,
        random_states: bool = True,
    ) -> None:
        """Puts the checkpoint into `model`, `optimizer` and the random generators, or changes nothing.

        fingerprint: what the checkpoint's has to be. Raises CheckpointMismatchError that names the first difference.
        """
        if difference := first_difference(self._model, model.state_dict()):
            raise _mismatch(self.path, difference)
        if fingerprint is not None and fingerprint != self.state.fingerprint:
            raise _mismatch(self.path, f"it is of {self.state.fingerprint!r} and this run is {fingerprint!r}")
        if optimizer is not None:
            self._refuse_other_optimizer(optimizer)
        if optimizer is not None and self._optimizer is not None:
            try:
                optimizer.load_state_dict(copy.deepcopy(dict(self._optimizer)))  # It would keep the tensors themselves.
            except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise corrupt(self.path / STATE_FILE, f"the optimizer does not take its state ({error})") from error
        model.load_state_dict(self._model)
        if random_states:
            restore_random_states(self._random)

    def release(self) -> None:
        """Lets go of the tensors of model and optimizer; a run that goes on from here would keep them to its end."""
        self._model.clear()
        if self._optimizer is not None:
            self._optimizer["state"] = {}

    def _refuse_other_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        if self._optimizer is None:
            raise _mismatch(self.path, "it holds no optimizer")
        kind = type(optimizer).__name__
        if kind != self._optimizer_kind:
            raise _mismatch(self.path, f"its optimizer is {self._optimizer_kind} and this run has {kind}")
        saved = [len(group["params"]) for group in self._optimizer["param_groups"]]
        wanted = [len(group["params"]) for group in optimizer.param_groups]
        if saved != wanted:
            raise _mismatch(self.path, f"its optimizer has groups of {saved} parameters and this run of {wanted}")


def first_difference(saved: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> str | None:
    """In what saved tensors are not those that a model wants, in words; None where they fit."""
    for name, tensor in wanted.items():
        if name not in saved:
            return f"it has no tensor {name!r}, which this model has"
        if saved[name].shape != tensor.shape:
            shapes = f"{list(saved[name].shape)} there and {list(tensor.shape)} in this model"
            return f"the tensor {name!r} has the shape {shapes}"
        if saved[name].dtype != tensor.dtype:
            return f"the tensor {name!r} is {saved[name].dtype} there and {tensor.dtype} in this model"
    for name in saved:
        if name not in wanted:
            return f"it has a tensor {name!r}, which this model lacks"
    return None


def _mismatch(path: Path, difference: str) -> CheckpointMismatchError:
    return CheckpointMismatchError(
        f"The checkpoint {path} does not fit: {difference}.",
        cause="It was made by a run with another model, task or optimizer.",
        remedy="Use the settings of that run, which are in its config.toml, or start without --resume.",
    )
