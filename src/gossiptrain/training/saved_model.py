"""A trained model, from wherever it is kept: a run folder, one checkpoint, or what `gossip export` has written.

Owns which of these a path means, and that the tensors are those of the model that this version builds for them, before
memory is taken for it. Does not know how each of them is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from gossiptrain import __version__
from gossiptrain.errors import CheckpointMismatchError, UsageError
from gossiptrain.training.runs.checkpoint_folders import is_checkpoint, list_checkpoints
from gossiptrain.training.runs.checkpoint_state import first_difference
from gossiptrain.training.runs.checkpoints import load_checkpoint
from gossiptrain.training.runs.exported import USUAL_NAME, ModelArguments, ModelDescription, read_export
from gossiptrain.training.tasks import task_named
from gossiptrain.training.tasks.task import Task


@dataclass(frozen=True)
class SavedModel:
    """What was saved, in memory, on the CPU. arguments: with which `task_named` builds the task again."""

    path: Path
    task: str
    arguments: ModelArguments
    fingerprint: str
    step: int
    tensors: dict[str, Tensor]

    def checked_task(self, *, data_dir: Path | None = None) -> Task:
        """The task, of which the tensors are, by name, shape and kind.

        data_dir: where class folders are counted, of checkpoints that do not say how many there are. Raises
        CheckpointMismatchError where this version builds another model for it, and what `task_named` raises.
        """
        try:
            task = task_named(self.task, data_dir=data_dir, **self.arguments.given())
        except UsageError as error:
            raise _mismatch(self.path, error.what.rstrip(".")) from error
        with torch.device("meta"):  # takes no memory, however large the file says that the model is
            wanted = task.build_model(seed=0).state_dict()
        if difference := first_difference(self.tensors, wanted):
            raise _mismatch(self.path, difference)
        if task.description != self.fingerprint:
            built = f"this version builds {task.description!r}"
            raise _mismatch(self.path, f"it is of {self.fingerprint!r}, and {built}")
        return task

    def build(self, task: Task | None = None) -> nn.Module:
        """The model in eval mode. task: what `checked_task` has returned; None: that is asked for first, and raises."""
        model = (task or self.checked_task()).build_model(seed=0)
        model.load_state_dict(self.tensors)
        return model.eval()

    def describe(self) -> ModelDescription:
        """What an export says of it. Raises what `checked_task` raises."""
        task = self.checked_task()
        return ModelDescription(
            gossiptrain=__version__,
            task=self.task,
            arguments=self.arguments,
            fingerprint=self.fingerprint,
            step=self.step,
            inputs=task.inputs,
            class_names=task.class_names,
            vocabulary=task.vocabulary,
        )


def load_saved(path: Path, *, report: Callable[[str], None] | None = None) -> SavedModel:
    """What was saved at `path`, of a run folder the last undamaged checkpoint.

    report: hears which damaged checkpoints were passed over. Raises CheckpointError.
    """
    if path.is_file() or (_is_export(path) and not list_checkpoints(path / "checkpoints")):
        told, tensors = read_export(path)
        return SavedModel(path, told.task, told.arguments, told.fingerprint, told.step, tensors)
    checkpoint = load_checkpoint(path, report=report)
    state = checkpoint.state
    try:
        arguments = ModelArguments.model_validate(state.extra.get("variant", {}))
    except ValidationError as error:
        raise _mismatch(checkpoint.path, "it says of its model what this version does not know") from error
    return SavedModel(checkpoint.path, state.task, arguments, state.fingerprint, state.step, checkpoint.model_state())


def load_model(path: str | os.PathLike[str]) -> nn.Module:
    """The trained model of a run, or one that was exported, on the CPU and in eval mode.

    path: a run folder, whose last checkpoint is taken; one checkpoint; the file `model.safetensors` that
    `gossip export` has written, with `model.json` beside it; or the folder of the two. What the model is to be given,
    and what comes out of it, stands in `model.json`. The files are only read as data, so they may be from anybody.
    Raises CheckpointError where there is no model or it is damaged, CheckpointMismatchError where it is of another
    version.
    """
    return load_saved(Path(path)).build()


def _is_export(folder: Path) -> bool:
    return (folder / USUAL_NAME).is_file() and not is_checkpoint(folder)


def _mismatch(path: Path, difference: str) -> CheckpointMismatchError:
    return CheckpointMismatchError(
        f"The model in {path} does not fit: {difference}.",
        cause="It is of another version of gossiptrain, or was changed.",
        remedy="Use the version of gossiptrain with which it was trained.",
    )
