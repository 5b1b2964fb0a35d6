"""Checkpoints: all that a run needs to go on exactly where it was, whole on disk or not there at all.

    checkpoints/step-00000500/
        model.safetensors       the state dict of the model; of tensors that are one and the same, only the first
        optimizer.safetensors   all other tensors, named by their place: `optimizer.state.0.exp_avg`, `extra.outer.0`
        state.json              the rest: step, data position, schedule, random states, parts of the optimizer that are
                                no tensors; sizes and SHA-256 of the other two files, and of itself

A second save of one step is `step-00000500-2`, so that the first stays until the second is whole. Folders are written
under a hidden temporary name, synced and renamed. Owns this form; does not know trainers or peers. No pickle.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from gossiptrain.errors import CheckpointCorruptError, CheckpointError, CheckpointMismatchError
from gossiptrain.training.runs.checkpoint_values import from_json, set_apart, to_json
from gossiptrain.training.runs.folder import TEMPORARY_SUFFIX, sync_folder
from gossiptrain.training.runs.random_states import check_random_states, random_states_now, restore_random_states

FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
_FOLDER_NAME = re.compile(r"step-(\d{8,18})(?:-(\d{1,9}))?")

Report = Callable[[str], None]


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
    _optimizer: Mapping[str, Any] | None
    _optimizer_kind: str
    _random: Mapping[str, Any]

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
        _refuse_other_model(self.path, self._model, model.state_dict())
        if fingerprint is not None and fingerprint != self.state.fingerprint:
            raise _mismatch(self.path, f"it is of {self.state.fingerprint!r} and this run is {fingerprint!r}")
        if optimizer is not None:
            self._refuse_other_optimizer(optimizer)
        if optimizer is not None and self._optimizer is not None:
            try:
                optimizer.load_state_dict(copy.deepcopy(dict(self._optimizer)))  # It would keep the tensors themselves.
            except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise _corrupt(self.path / STATE_FILE, f"the optimizer does not take its state ({error})") from error
        model.load_state_dict(self._model)
        if random_states:
            restore_random_states(self._random)

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
            _write_folder(temporary, model, optimizer, state=state)
            path = self._next_name(state.step)
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

    def _next_name(self, step: int) -> Path:
        taken = [serial for other, serial in map(_order, self.folder.iterdir()) if other == step]
        return self.folder / (f"step-{step:08d}-{max(taken) + 1}" if taken else f"step-{step:08d}")

    def _forget_old_ones(self, newest: Path) -> None:
        """Removes what `newest` makes superfluous, and sets aside later steps of a course that was given up."""
        step = _order(newest)[0]
        kept = 0
        for path in list_checkpoints(self.folder):
            if _order(path)[0] > step:
                aside = path.with_name(f"abandoned-{path.name}-{secrets.token_hex(2)}")
                with contextlib.suppress(OSError):
                    path.rename(aside)
                    self._report(f"{path.name} is later than the checkpoint just saved and was renamed to {aside.name}")
                continue
            kept += 1
            if kept > self._keep or (_order(path)[0] == step and path != newest):
                # Renamed first, so that a crash leaves nothing that looks like a damaged checkpoint.
                hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
                with contextlib.suppress(OSError):
                    path.rename(hidden)
                    shutil.rmtree(hidden, ignore_errors=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, highest step first. They are whole unless the disk damaged them."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _FOLDER_NAME.fullmatch(path.name) and (path / STATE_FILE).is_file()]
    return sorted(found, key=_order, reverse=True)


def load_checkpoint(path: Path, *, report: Report | None = None) -> Checkpoint:
    """Reads and verifies a checkpoint.

    path: the checkpoint, or a run folder, or its `checkpoints`, of which the highest step that is undamaged is taken.
    report: hears which damaged ones were passed over. Raises CheckpointError where there is none, and
    CheckpointCorruptError that names the file where it is damaged, or all are.
    """
    if (path / STATE_FILE).exists() or _FOLDER_NAME.fullmatch(path.name):
        return _read_checkpoint(path)
    candidates = list_checkpoints(path / "checkpoints") or list_checkpoints(path)
    damage: CheckpointCorruptError | None = None
    for candidate in candidates:
        try:
            return _read_checkpoint(candidate)
        except CheckpointCorruptError as error:
            damage = damage or error
            if report is not None:
                report(f"{error.what} The checkpoint before it is used.")
    if damage is not None:
        raise damage
    raise CheckpointError(
        f"There is no checkpoint in {path}.",
        cause="The folder is missing, or the run ended before its first checkpoint.",
        remedy="Give a run folder such as runs/digits-20261122-153012-3f9a, or one checkpoint in it.",
    )


def _order(path: Path) -> tuple[int, int]:
    found = _FOLDER_NAME.fullmatch(path.name)
    return (int(found[1]), int(found[2] or 1)) if found else (-1, 0)


def _write_folder(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, *, state: RunState) -> None:
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
    for name in (MODEL_FILE, OPTIMIZER_FILE, STATE_FILE):
        _sync_file(folder / name)
    sync_folder(folder)


def _read_checkpoint(path: Path) -> Checkpoint:
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
        _check_types(checkpoint)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _corrupt(path / STATE_FILE, f"an entry is missing or wrong ({error})") from error
    return checkpoint


def _check_types(checkpoint: Checkpoint) -> None:
    """Raises ValueError where an entry is of another kind than it has to be; a checksum does not tell who made it."""
    state, optimizer = checkpoint.state, checkpoint._optimizer
    counts, texts = (state.step, state.rounds), (state.task, state.fingerprint, checkpoint._optimizer_kind)
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
    check_random_states(checkpoint._random)


def _read_state(path: Path) -> dict[str, Any]:
    file = path / STATE_FILE
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise _corrupt(file, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _corrupt(file, "it is cut off or damaged") from error
    if not isinstance(content, dict) or content.get("format") != "gossiptrain checkpoint":
        raise _corrupt(file, "it is not of a checkpoint of this program")
    if content.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{file} is of checkpoint format {content.get('version')} and this program reads {FORMAT_VERSION}.",
            remedy="Use the version of gossiptrain that wrote it, or a newer one.",
        )
    if content.pop("sha256", None) != _digest_of(content):
        raise _corrupt(file, "its content does not match its checksum")
    return content


def _read_tensors(file: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _corrupt(file, error.strerror or str(error)) from error
    expected = content["files"][file.name]
    if len(data) != expected["bytes"]:
        raise _corrupt(file, f"it has {len(data)} bytes instead of {expected['bytes']}")
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise _corrupt(file, "its content does not match its checksum")
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise _corrupt(file, str(error)) from error
    for name, same in content["tied"][file.name].items():
        tensors[name] = tensors[same]
    return tensors


def _corrupt(file: Path, reason: str) -> CheckpointCorruptError:
    others = [path for path in list_checkpoints(file.parent.parent) if path != file.parent]
    other = f"continue from another checkpoint, for example {others[0]}" if others else "start the run anew"
    return CheckpointCorruptError(
        f"The checkpoint file {file} is unusable: {reason}.",
        cause="It may have been copied only in part, or damaged on disk.",
        remedy=f"Copy it again from where it came, or {other}.",
    )


def _sync_file(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size_and_digest(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _reason(error: Exception) -> str:
    """The words of the system alone, `No space left on device`; safetensors wraps them into a sentence."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return re.sub(r".*I/O error: | \(os error \d+\).*", "", str(error)).strip(". ")


def _refuse_other_model(path: Path, saved: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> None:
    for name, tensor in wanted.items():
        if name not in saved:
            raise _mismatch(path, f"it has no tensor {name!r}, which this model has")
        if saved[name].shape != tensor.shape:
            shapes = f"{list(saved[name].shape)} there and {list(tensor.shape)} in this model"
            raise _mismatch(path, f"the tensor {name!r} has the shape {shapes}")
        if saved[name].dtype != tensor.dtype:
            raise _mismatch(path, f"the tensor {name!r} is {saved[name].dtype} there and {tensor.dtype} in this model")
    for name in saved:
        if name not in wanted:
            raise _mismatch(path, f"it has a tensor {name!r}, which this model lacks")


def _mismatch(path: Path, difference: str) -> CheckpointMismatchError:
    return CheckpointMismatchError(
        f"The checkpoint {path} does not fit: {difference}.",
        cause="It was made by a run with another model, task or optimizer.",
        remedy="Use the settings of that run, which are in its config.toml, or start without --resume.",
    )
