"""The checkpoints of a run, each whole on disk or not there at all: saving, keeping the last ones, and loading.

A second save of one step is `step-00000500-2`, so that the first stays until the second is whole. Folders are written
under a hidden temporary name, synced and renamed. Owns which checkpoints are kept, and which one is loaded. What is in
one is `checkpoint_files`. Does not know trainers or peers.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from gossiptrain.errors import CheckpointCorruptError, CheckpointError
from gossiptrain.training.runs.checkpoint_files import read_checkpoint, write_checkpoint
from gossiptrain.training.runs.checkpoint_folders import is_checkpoint, list_checkpoints, next_name, order_of
from gossiptrain.training.runs.checkpoint_state import Checkpoint, RunState
from gossiptrain.training.runs.whole_files import TEMPORARY_SUFFIX, sync_folder

Report = Callable[[str], None]


class CheckpointWriter:
    """Saves the checkpoints of one run into `folder` and keeps the last `keep` of them.

    There is one writer per folder; leftovers of one that crashed are swept when the next is made.
    """

    def __init__(self, folder: Path, *, keep: int = 3, report: Report | None = None) -> None:
        """folder: `checkpoints` of the run folder. report: hears what a person should know. Raises nothing."""
        self.folder = folder
        self._keep = max(1, keep)
        self._report = report or (lambda text: None)
        for leftover in folder.glob(f".step-*{TEMPORARY_SUFFIX}"):
            shutil.rmtree(leftover, ignore_errors=True)

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer | None, *, state: RunState) -> Path:
        """Writes one checkpoint and returns its folder.

        Raises CheckpointError where the disk does not take it, having removed what was written; older checkpoints
        are as they were.
        """
        temporary = self.folder / f".step-{state.step:08d}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        try:
            temporary.mkdir(parents=True)
            write_checkpoint(temporary, model, optimizer, state=state)
            path = next_name(self.folder, state.step)
            temporary.rename(path)
            sync_folder(self.folder)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"The checkpoint of step {state.step} could not be saved: {_reason(error)}.",
                cause=f"The disk of {self.folder} may be full or gone.",
                remedy="Free some space. Training goes on, and the next checkpoint is tried as usual.",
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._forget_old_ones(path)
        return path

    def _forget_old_ones(self, newest: Path) -> None:
        """Removes what `newest` makes superfluous, and sets aside later steps of a course that was given up."""
        step = order_of(newest)[0]
        kept = 0
        for path in list_checkpoints(self.folder):
            if order_of(path)[0] > step:
                aside = path.with_name(f"abandoned-{path.name}-{secrets.token_hex(2)}")
                with contextlib.suppress(OSError):
                    path.rename(aside)
                    self._report(f"{path.name} is later than the checkpoint just saved and was renamed to {aside.name}")
                continue
            kept += 1
            if kept > self._keep or (order_of(path)[0] == step and path != newest):
                # Renamed first, so that a crash leaves nothing that looks like a damaged checkpoint.
                hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
                with contextlib.suppress(OSError):
                    path.rename(hidden)
                    shutil.rmtree(hidden, ignore_errors=True)


def load_checkpoint(path: Path, *, report: Report | None = None) -> Checkpoint:
    """Reads and verifies a checkpoint.

    path: the checkpoint, or a run folder, or its `checkpoints`, of which the highest step that is undamaged is taken.
    report: hears which damaged ones were passed over. Raises CheckpointError where there is none, and
    CheckpointCorruptError that names the file where it is damaged, or all are.
    """
    if is_checkpoint(path):
        return read_checkpoint(path)
    candidates = list_checkpoints(path / "checkpoints") or list_checkpoints(path)
    damage: CheckpointCorruptError | None = None
    for candidate in candidates:
        try:
            return read_checkpoint(candidate)
        except CheckpointCorruptError as error:
            damage = damage or error
            if report is not None:
                report(f"{error.what} The checkpoint before it is used.")
    if damage is not None:
        if len(candidates) > 1:
            damage.remedy = f"All {len(candidates)} checkpoints of the run are damaged: copy them again, or start anew."
        raise damage
    raise CheckpointError(
        f"There is no checkpoint in {path}.",
        cause="The folder is missing, or the run ended before its first checkpoint.",
        remedy="Give a run folder such as runs/digits-20261122-153012-3f9a, or one checkpoint in it.",
    )


def _reason(error: Exception) -> str:
    """The words of the system alone, `No space left on device`; safetensors wraps them into a sentence."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return re.sub(r".*I/O error: | \(os error \d+\).*", "", str(error)).strip(". ")
