"""A trained model is the same from wherever it is loaded, and nothing is built that is not what it says."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gossiptrain
from gossiptrain.errors import CheckpointCorruptError, CheckpointError, CheckpointMismatchError
from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter
from gossiptrain.training.runs.exported import ModelArguments, write_export
from gossiptrain.training.saved_model import SavedModel, load_saved
from gossiptrain.training.tasks import TASK_NAMES, task_named

VARIANTS: dict[str, dict[str, Any]] = {
    "digits": {},
    "cifar10": {"model": "tiny"},
    "imagenet": {"model": "resnet18", "image_size": 64, "classes": 3, "class_digest": "00ff"},
    "text": {"model": "tiny"},
}
INPUTS = {
    "digits": torch.zeros(1, 64),
    "cifar10": torch.zeros(1, 3, 32, 32),
    "imagenet": torch.zeros(1, 3, 64, 64),
    "text": torch.zeros(1, 4, dtype=torch.int64),
}


def save_run(folder: Path, name: str, *, step: int = 5, seed: int = 1, **values: Any) -> nn.Module:
    """One more checkpoint of a run."""
    task = task_named(name, **VARIANTS[name])
    model = task.build_model(seed=seed)
    state = {"task": name, "fingerprint": task.description, "step": step, "extra": {"variant": task.variant}}
    CheckpointWriter(folder / "checkpoints").save(model, None, state=RunState(**{**state, **values}))
    return model.eval()


@pytest.mark.parametrize("name", TASK_NAMES)
def test_an_exported_model_answers_as_the_trained_one_and_says_what_it_takes_and_tells(
    tmp_path: Path, name: str
) -> None:
    trained = save_run(tmp_path / "run", name)
    saved = load_saved(tmp_path / "run")
    told = saved.describe()
    write_export(tmp_path / "model.safetensors", saved.tensors, told)
    model = gossiptrain.load_model(tmp_path / "model.safetensors")
    assert not model.training
    with torch.inference_mode():
        answer = model(INPUTS[name])
        assert torch.equal(answer, trained(INPUTS[name]))
    assert (told.task, told.arguments.given(), told.step) == (name, VARIANTS[name], 5)
    assert len(told.class_names) in (0, answer.shape[-1])
    assert (told.vocabulary == "bytes") == (answer.shape[-1] == 256)
    assert told.inputs


def test_it_is_the_same_from_run_folder_checkpoint_and_export(tmp_path: Path) -> None:
    trained = save_run(tmp_path / "run", "digits")
    saved = load_saved(tmp_path / "run")
    exported = tmp_path / "model.safetensors"
    write_export(exported, saved.tensors, saved.describe())
    for place in (tmp_path / "run", saved.path, exported, tmp_path, str(exported.with_suffix(".json"))):
        state = gossiptrain.load_model(place).state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in trained.state_dict().items())


def test_the_newest_checkpoint_counts_and_a_run_goes_before_an_export_in_its_folder(tmp_path: Path) -> None:
    save_run(tmp_path, "digits", step=5)
    old = load_saved(tmp_path)
    write_export(tmp_path / "model.safetensors", old.tensors, old.describe())
    save_run(tmp_path, "digits", step=9, seed=2)
    assert load_saved(tmp_path).step == 9
    assert load_saved(tmp_path / "model.safetensors").step == 5


def test_a_folder_with_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint in"):
        gossiptrain.load_model(tmp_path)


def exported(folder: Path, name: str = "digits", **values: Any) -> Path:
    """An exported model whose description was changed."""
    save_run(folder / "run", name)
    saved = load_saved(folder / "run")
    path = folder / "model.safetensors"
    beside = write_export(path, saved.tensors, saved.describe())
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **values}))
    return path


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"task": "chess"}, "no task 'chess'"),
        ({"task": "text"}, "it has no tensor"),
        ({"arguments": {"model": "tiny"}}, "has no setting model"),
        ({"fingerprint": "digits/mlp of another version"}, "of another version"),
        ({"task": "imagenet", "arguments": {"model": "resnet50", "classes": 1000}}, "it has no tensor"),
    ],
)
def test_a_description_of_another_model_is_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointMismatchError, match=said):
        gossiptrain.load_model(exported(tmp_path, **values))


def test_no_memory_is_taken_for_a_model_that_the_file_does_not_hold(tmp_path: Path) -> None:
    gigantic = {"model": "resnet50", "image_size": 64, "classes": 1_000_000}
    path = exported(tmp_path, task="imagenet", arguments=gigantic)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointMismatchError):
        gossiptrain.load_model(path)
    # The last layer alone would be 8 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_a_checkpoint_with_strange_arguments_is_refused(tmp_path: Path) -> None:
    save_run(tmp_path, "digits", extra={"variant": {"data_dir": "/etc"}})
    with pytest.raises(CheckpointMismatchError, match="does not know"):
        gossiptrain.load_model(tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    path = exported(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(CheckpointCorruptError, match=r"model\.safetensors"):
        gossiptrain.load_model(path)


def test_every_argument_of_every_task_can_be_told() -> None:
    known = {name for variant in VARIANTS.values() for name in variant}
    assert known == ModelArguments.model_fields.keys()


def test_a_saved_model_is_checked_before_it_is_built(tmp_path: Path) -> None:
    save_run(tmp_path, "digits")
    saved = load_saved(tmp_path)
    other = SavedModel(saved.path, "cifar10", ModelArguments(model="tiny"), saved.fingerprint, 1, saved.tensors)
    with pytest.raises(CheckpointMismatchError):
        other.build()
