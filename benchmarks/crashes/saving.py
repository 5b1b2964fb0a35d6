"""Crashes while checkpoints are saved: after each, the folder has to hold one that loads, and nothing may pile up.

A process that has imported all it needs forks a saver for each crash, which saves over and over until it gets SIGKILL
at a random moment. Needs a system that can fork.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from gossiptrain.errors import CheckpointError
from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter, load_checkpoint
from gossiptrain.training.tasks import task_named

KEPT = 3
SPAN_SAVES = 4.0
"""A crash comes within the time of so many saves."""
TIDY_EVERY = 50
"""After so many crashes one saver comes to the end of a save, which has to remove all that crashes have left."""


@dataclass(frozen=True)
class SavingFindings:
    """mid_save: crashes after which something unfinished lay there. most_entries: of the folder, between saves."""

    crashes: int
    saves: int
    mid_save: int
    most_entries: int
    wrong: list[str]


def crash_while_saving(folder: Path, *, crashes: int, seed: int = 0) -> SavingFindings:
    """Lets so many savers crash, one after the other, in one folder."""
    torch.set_num_threads(1)  # No thread may be there that a fork would lose.
    rng = random.Random(seed)
    model, optimizer = _model()
    span_s = SPAN_SAVES * _seconds_of_a_save(folder / "first", model, optimizer)
    checkpoints = folder / "checkpoints"
    CheckpointWriter(checkpoints, keep=KEPT).save(_filled(model, 0), optimizer, state=_state(0))
    wrong: list[str] = []
    step, saves, mid_save, most_entries = 0, 0, 0, 0
    with mmap.mmap(-1, 8) as saved:
        for number in range(crashes):
            _put(saved, step)
            with _saver(checkpoints, model, optimizer, saved=saved, first=step + 1):
                time.sleep(rng.uniform(0.0, span_s))
            entries = list(checkpoints.iterdir())
            most_entries = max(most_entries, len(entries))
            mid_save += any(entry.name.startswith(".") for entry in entries)
            found, problem = _look(folder, at_least=_get(saved))
            saves += max(0, found - step)
            step = max(step, found)
            if (number + 1) % TIDY_EVERY == 0 and not problem:
                step += 1
                CheckpointWriter(checkpoints, keep=KEPT).save(_filled(model, step), optimizer, state=_state(step))
                names = sorted(entry.name for entry in checkpoints.iterdir())
                problem = "" if len(names) == KEPT else f"a save has left {names}"
            if problem:
                wrong.append(f"crash {number + 1}: {problem}")
    return SavingFindings(crashes, saves, mid_save, most_entries, wrong)


def _look(folder: Path, *, at_least: int) -> tuple[int, str]:
    """The step of the checkpoint that is loaded, and what is wrong with it. at_least: the last one known as saved."""
    damaged: list[str] = []
    try:
        checkpoint = load_checkpoint(folder, report=damaged.append)
    except CheckpointError as error:
        return 0, error.what
    step = checkpoint.state.step
    if damaged:
        return step, damaged[0]
    if step < at_least:
        return step, f"step {at_least} was saved, and {step} is what loads"
    if any(not bool((values == step).all()) for values in checkpoint.model_state().values()):
        return step, f"the model of step {step} is of another step"
    return step, ""


@contextmanager
def _saver(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, saved: mmap.mmap, first: int
) -> Iterator[None]:
    """A process that saves over and over; killed at the end of the block."""
    pid = os.fork()
    if pid == 0:
        try:
            writer = CheckpointWriter(folder, keep=KEPT)
            while True:
                writer.save(_filled(model, first), optimizer, state=_state(first))
                _put(saved, first)
                first += 1
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError("the saver ended by itself")


def _seconds_of_a_save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    writer = CheckpointWriter(folder, keep=KEPT)
    began_s = time.monotonic()
    for step in range(5):
        writer.save(model, optimizer, state=_state(step))
    return (time.monotonic() - began_s) / 5


def _model() -> tuple[nn.Module, torch.optim.Optimizer]:
    """That of the digits task, with an optimizer that has a state."""
    model = task_named("digits", data_dir=None).build_model(seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return model, optimizer


def _filled(model: nn.Module, step: int) -> nn.Module:
    """The model with the step in every parameter, by which a mixture would be known."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
    return model


def _state(step: int) -> RunState:
    return RunState(task="digits", fingerprint="saving", step=step)


def _put(shared: mmap.mmap, number: int) -> None:
    shared[:8] = number.to_bytes(8, "little")


def _get(shared: mmap.mmap) -> int:
    return int.from_bytes(shared[:8], "little")
