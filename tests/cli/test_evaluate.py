"""`gossip eval` and `gossip export` on the checkpoints of real runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from gossiptrain.training.runs.checkpoint_folders import list_checkpoints
from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter, load_checkpoint
from gossiptrain.training.tasks import task_named
from tests.processes import Command


def trained(gossip: Command, name: str, *flags: str) -> Path:
    """The folder of a short run."""
    ended = gossip.train("--alone", "--max-steps", "150", "--eval-every", "0", "--out", name, *flags)
    assert ended.code == 0, ended.err
    return Path(name)


def other_checkpoint(folder: Path, model: nn.Module, *, fingerprint: str) -> Path:
    """A checkpoint that says it is of the digits, and is of another model."""
    state = RunState(task="digits", fingerprint=fingerprint, step=1)
    return CheckpointWriter(folder / "checkpoints").save(model, None, state=state)


def test_a_run_is_evaluated_as_it_was_at_its_end(gossip: Command) -> None:
    folder = trained(gossip, "run")
    ended = gossip("eval", folder, "--device", "cpu", "--report", "report.json")
    assert ended.code == 0
    report = json.loads(Path("report.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    assert report["accuracy"] == pytest.approx(summary["accuracy"])
    assert (report["step"], report["samples"], report["checkpoints"]) == (150, 810, 1)
    assert report["task"] == "digits/mlp 64-128-64-10"
    assert ended.out == f"digits at step 150: accuracy {report['accuracy']:.2%}, loss {report['loss']:.4f}\n"


def test_one_checkpoint_can_be_named_itself(gossip: Command) -> None:
    (checkpoint,) = list_checkpoints(trained(gossip, "run") / "checkpoints")
    assert gossip("eval", checkpoint).code == 0


def test_several_runs_are_merged_first_and_their_disagreement_is_told(gossip: Command) -> None:
    one, two = trained(gossip, "one", "--share", "1/2"), trained(gossip, "two", "--share", "2/2")
    ended = gossip("eval", one, two, "--report", "report.json")
    assert ended.code == 0
    report = json.loads(Path("report.json").read_text())
    assert report["checkpoints"] == 2
    assert report["disagreement"] > 0.0
    assert f"merged from 2 checkpoints, which disagree by {report['disagreement']:.3%}" in ended.out
    assert gossip("export", one, two, "--to", "merged.safetensors").code == 0
    states = [load_checkpoint(folder).model_state() for folder in (one, two)]
    mean = {name: (tensor + states[1][name]) / 2 for name, tensor in states[0].items()}
    torch.testing.assert_close(load_file("merged.safetensors"), mean)


def test_an_exported_model_can_be_loaded_into_plain_pytorch_and_says_what_it_is(gossip: Command) -> None:
    folder = trained(gossip, "run")
    ended = gossip("export", folder, "--to", "model.safetensors")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "6 tensors of step 150 written to model.safetensors, and what they are to model.json",
        "in Python: model = gossiptrain.load_model('model.safetensors')",
    ]
    model = task_named("digits").build_model(seed=1)
    model.load_state_dict(load_file("model.safetensors"))
    with safe_open("model.safetensors", framework="pt") as file:
        assert file.metadata() == {
            "task": "digits",
            "description": "digits/mlp 64-128-64-10",
            "step": "150",
        }
    told = json.loads(Path("model.json").read_text())
    assert (told["task"], told["arguments"], told["step"]) == ("digits", {}, 150)


def test_an_exported_model_is_evaluated_as_its_run_is(gossip: Command) -> None:
    folder = trained(gossip, "run")
    assert gossip("export", folder, "--to", "model.safetensors").code == 0
    assert gossip("eval", "model.safetensors").out == gossip("eval", folder).out
    assert gossip("eval", folder, "model.safetensors").out.splitlines()[1].endswith("disagree by 0.000%")


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_said_so(gossip: Command) -> None:
    folder = trained(gossip, "run", "--max-steps", "3", "--checkpoint-every", "0.000001")
    newest, *older = list_checkpoints(folder / "checkpoints")
    assert older
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    ended = gossip("eval", folder)
    assert ended.code == 0
    assert "The checkpoint before it is used." in ended.err
    assert gossip("eval", newest).code == 31


@pytest.mark.parametrize("command", [["eval"], ["export", "--to", "model.safetensors"]])
def test_a_folder_without_a_checkpoint_is_named(gossip: Command, command: list[str]) -> None:
    ended = gossip(*command, "nowhere")
    assert ended.code == 30
    assert "There is no checkpoint in nowhere" in ended.err
    assert not Path("model.safetensors").exists()


@pytest.mark.parametrize(
    ("model", "fingerprint"),
    [
        (nn.Linear(3, 3), "digits/mlp 64-128-64-10"),
        (nn.Linear(3, 3), "digits/mlp of another version"),
        (task_named("digits").build_model(seed=0), "digits/mlp of another version"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(gossip: Command, model: nn.Module, fingerprint: str) -> None:
    path = other_checkpoint(Path("run"), model, fingerprint=fingerprint)
    ended = gossip("eval", path)
    assert ended.code == 32
    assert str(path) in ended.err


def test_checkpoints_of_different_models_are_not_merged(gossip: Command) -> None:
    one = trained(gossip, "one")
    model = task_named("digits").build_model(seed=0)
    two = other_checkpoint(Path("two"), model, fingerprint="digits/mlp of another version")
    ended = gossip("export", one, two, "--to", "model.safetensors")
    assert ended.code == 32
    assert "another version" in ended.err
    assert not Path("model.safetensors").exists()


@pytest.mark.parametrize("command", [["eval", "--report"], ["export", "--to"]])
def test_a_place_that_cannot_be_written_to_is_named(gossip: Command, command: list[str]) -> None:
    folder = trained(gossip, "run")
    ended = gossip(*command, "nowhere/file", folder)
    assert ended.code == 2
    assert "nowhere/file cannot be written: No such file or directory" in ended.err


def test_an_unknown_device_is_refused(gossip: Command) -> None:
    ended = gossip("eval", trained(gossip, "run"), "--device", "tpu9")
    assert ended.code == 2
    assert "'tpu9'" in ended.err


def test_a_name_that_promises_pickled_objects_is_refused(gossip: Command, tmp_path: Path) -> None:
    ended = gossip("export", tmp_path, "--to", "model.pt")
    assert ended.code == 2
    assert "Name it model.safetensors" in ended.err
