"""The last checkpoints of several runs are measured each by itself and as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossiptrain.cli.final_models import measure
from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter
from gossiptrain.training.tasks import task_named


def save(folder: Path, *, seed: int, own_steps: int) -> Path:
    """A run folder with an untrained model."""
    task = task_named("digits")
    state = RunState(task="digits", fingerprint=task.description, step=700, extra={"own_steps": own_steps})
    CheckpointWriter(folder / "checkpoints").save(task.build_model(seed), None, state=state)
    return folder


def test_equal_models_agree_and_are_as_good_as_their_mean(tmp_path: Path) -> None:
    folders = {label: save(tmp_path / label, seed=1, own_steps=steps) for label, steps in (("a", 5), ("b", 7))}
    found = measure(folders, task="digits")
    assert found.disagreement == pytest.approx(0.0, abs=1e-9)
    assert found.merged == found.models["a"].accuracy == found.models["b"].accuracy
    assert [found.models[label].own_steps for label in "ab"] == [5, 7]


def test_different_models_disagree(tmp_path: Path) -> None:
    folders = {label: save(tmp_path / label, seed=seed, own_steps=1) for seed, label in enumerate("ab")}
    found = measure(folders, task="digits")
    # Two independent models: their mean is smaller than either by a factor of 1.41, and as far from both.
    assert found.disagreement == pytest.approx(1.0, abs=0.1)


def test_runs_without_a_whole_checkpoint_are_left_out(tmp_path: Path) -> None:
    good = save(tmp_path / "a", seed=1, own_steps=5)
    damaged = save(tmp_path / "b", seed=1, own_steps=5)
    for file in (damaged / "checkpoints").rglob("model.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    found = measure({"a": good, "b": damaged, "c": tmp_path / "missing"}, task="digits")
    assert list(found.models) == ["a"]


def test_where_nothing_was_saved_there_is_nothing_to_measure(tmp_path: Path) -> None:
    found = measure({"a": tmp_path}, task="digits")
    assert (found.models, found.merged, found.disagreement) == ({}, None, None)
