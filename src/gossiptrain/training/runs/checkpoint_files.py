"""One checkpoint as files, written whole and read with all checksums compared.

    step-00000500/
        model.safetensors       the state dict of the model; of tensors that are one and the same, only the first
        optimizer.safetensors   all other tensors, named by their place: `optimizer.state.0.exp_avg`, `extra.outer.0`
        state.json              the rest: step, data position, schedule, random states, parts of the optimizer that are
                                no tensors; sizes and SHA-256 of the other two files, and of itself

Owns this form, and that neither direction needs memory for a second copy of the tensors. No pickle. Does not know which
checkpoints there are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gossiptrain.errors import CheckpointError
from gossiptrain.training.runs.checkpoint_folders import MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, corrupt
from gossiptrain.training.runs.checkpoint_state import Checkpoint, RunState
from gossiptrain.training.runs.checkpoint_values import from_json, set_apart, to_json
from gossiptrain.training.runs.random_states import random_states_now
from gossiptrain.training.runs.whole_files import sync_file, sync_folder

FORMAT_VERSION = 1


def write_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, *, state: RunState
) -> None:
    """Writes the files into an empty folder and sees them on disk. Raises OSError, SafetensorError, CheckpointError."""
    tensors: dict[str, Tensor] = {}
    parts = dict(vars(state))
    parts["optimizer"] = None if optimizer is None else optimizer.state_dict()
    content = {name: to_json(value, name, tensors) for name, value in parts.items()}
    content["optimizer_kind"] = type(optimizer).__name__
    content["random"] = to_json(random_states_now(), "random", {})
    content["tied"], content["files"] = {}, {}
    for name, named in ((MODEL_FILE, model.state_dict()), (OPTIMIZER_FILE, tensors)):
        own, tied = set_apart(named)
        save_file(own, folder / name)
        content["tied"][name] = tied
        content["files"][name] = _size_and_digest(folder / name)
    content["format"], content["version"] = "gossiptrain checkpoint", FORMAT_VERSION
    content["sha256"] = _digest_of(content)
    (folder / STATE_FILE).write_text(json.dumps(content), encoding="utf-8")
    for name in (MODEL_FILE, OPTIMIZER_FILE):
        # safetensors makes files for the user alone, whatever the umask says.
        os.chmod(folder / name, (folder / STATE_FILE).stat().st_mode & 0o777)
    for name in (MODEL_FILE, OPTIMIZER_FILE, STATE_FILE):
        sync_file(folder / name)
    sync_folder(folder)


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads the files of one checkpoint. Raises CheckpointCorruptError, or CheckpointError for another format."""
    content = _read_state(path)
    try:
        model = _read_tensors(path / MODEL_FILE, content)
        tensors = _read_tensors(path / OPTIMIZER_FILE, content)
        state = RunState(**{item.name: from_json(content[item.name], tensors) for item in fields(RunState)})
        checkpoint = Checkpoint(
            path=path,
            state=state,
            _model=model,
            _optimizer=from_json(content["optimizer"], tensors),
            _optimizer_kind=content["optimizer_kind"],
            _random=from_json(content["random"], {}),
        )
        checkpoint.check()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise corrupt(path / STATE_FILE, f"an entry is missing or wrong ({error})") from error
    return checkpoint


def _read_state(path: Path) -> dict[str, Any]:
    file = path / STATE_FILE
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise corrupt(file, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise corrupt(file, "it is cut off or damaged") from error
    if not isinstance(content, dict) or content.get("format") != "gossiptrain checkpoint":
        raise corrupt(file, "it is not of a checkpoint of this program")
    if content.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{file} is of checkpoint format {content.get('version')} and this program reads {FORMAT_VERSION}.",
            remedy="Use the version of gossiptrain that wrote it, or a newer one.",
        )
    if content.pop("sha256", None) != _digest_of(content):
        raise corrupt(file, "its content does not match its checksum")
    return content


def _read_tensors(file: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    expected = content["files"][file.name]
    try:
        found = _size_and_digest(file)
        if found["bytes"] != expected["bytes"]:
            raise corrupt(file, f"it has {found['bytes']} bytes instead of {expected['bytes']}")
        if found["sha256"] != expected["sha256"]:
            raise corrupt(file, "its content does not match its checksum")
        tensors = load_file(file, backend="pread")  # Straight into the tensors; `load` would need the file in memory.
    except OSError as error:
        raise corrupt(file, error.strerror or str(error)) from error
    except SafetensorError as error:
        raise corrupt(file, str(error)) from error
    for name, same in content["tied"][file.name].items():
        tensors[name] = tensors[same]
    return tensors


def _size_and_digest(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
