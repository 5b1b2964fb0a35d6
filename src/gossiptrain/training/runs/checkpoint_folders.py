"""The folders of checkpoints and their files by name: which there are, in which order, and what is said of a bad one.

Owns these names. Does not know what is in a file.
"""

from __future__ import annotations

import re
from pathlib import Path

from gossiptrain.errors import CheckpointCorruptError

MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
_FOLDER_NAME = re.compile(r"step-(\d{8,18})(?:-(\d{1,9}))?")


def is_checkpoint(path: Path) -> bool:
    """Whether this is a checkpoint, or what is left of one."""
    return (path / STATE_FILE).exists() or _FOLDER_NAME.fullmatch(path.name) is not None


def order_of(path: Path) -> tuple[int, int]:
    """The step of a checkpoint, and which save of that step it is; below all others where it is none."""
    found = _FOLDER_NAME.fullmatch(path.name)
    return (int(found[1]), int(found[2] or 1)) if found else (-1, 0)


def next_name(folder: Path, step: int) -> Path:
    """What a checkpoint of this step in `folder` is to be called, beside those of the same step."""
    taken = [serial for other, serial in map(order_of, folder.iterdir()) if other == step]
    return folder / (f"step-{step:08d}-{max(taken) + 1}" if taken else f"step-{step:08d}")


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, highest step first. They are whole unless the disk damaged them."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _FOLDER_NAME.fullmatch(path.name) and (path / STATE_FILE).is_file()]
    return sorted(found, key=order_of, reverse=True)


def corrupt(file: Path, reason: str) -> CheckpointCorruptError:
    """The error that says so of one file of a checkpoint, and which other checkpoint there is."""
    others = [path for path in list_checkpoints(file.parent.parent) if path != file.parent]
    other = f"continue from another checkpoint, for example {others[0]}" if others else "start the run anew"
    return CheckpointCorruptError(
        f"The checkpoint file {file} is unusable: {reason}.",
        cause="It may have been copied only in part, or damaged on disk.",
        remedy=f"Copy it again from where it came, or {other}.",
    )
