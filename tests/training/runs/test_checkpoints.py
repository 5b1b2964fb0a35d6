"""Checkpoints: exact continuation, whole or not there, and clear words where one is damaged or does not fit."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gossiptrain.errors import CheckpointCorruptError, CheckpointError
from gossiptrain.training.runs.checkpoint_folders import list_checkpoints
from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter, load_checkpoint
from tests.training.runs.test_folder import full_disk

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


class TiedModel(nn.Module):
    """Output weights tied to the embedding, a running statistic and a dropout: all that makes continuing hard."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 6)
        self.norm = nn.BatchNorm1d(6)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(6, 7, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.output(self.dropout(self.norm(self.embedding(tokens))))
        return hidden


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.95))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, *, schedule: Any, steps: int) -> None:
    """Steps whose data come from all three random generators."""
    for _ in range(steps):
        tokens = torch.from_numpy(np.random.randint(0, 7, size=16))
        targets = torch.randint(0, 7, (16,))
        if random.random() < 0.5:
            targets = targets.flip(0)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def fresh(make_optimizer: MakeOptimizer, *, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    for seed_of in (random.seed, np.random.seed, torch.manual_seed):
        seed_of(seed)
    model = TiedModel()
    optimizer = make_optimizer(model)
    return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)


def state(step: int = 1, **more: Any) -> RunState:
    return RunState(task="digits", fingerprint="digits-0123", step=step, **more)


def save_steps(folder: Path, *steps: int, keep: int = 3) -> CheckpointWriter:
    writer = CheckpointWriter(folder, keep=keep)
    for step in steps:
        writer.save(nn.Linear(step, 1), None, state=state(step))
    return writer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- going on


def test_where_the_run_stood_comes_back_with_all_its_values(tmp_path: Path) -> None:
    saved = state(
        step=500,
        epoch=2.5,
        rounds=17,
        position={"order_seed": 2**63 + 5, "offset": 128},
        schedule={"milestones": {30: 1, 60: 2}, "best": -math.inf},
        extra={"outer": [torch.arange(3.0)], "none": None, "pair": (1, "a"), "$odd": True},
    )
    CheckpointWriter(tmp_path).save(nn.Linear(1, 1), None, state=saved)
    loaded = load_checkpoint(tmp_path).state
    assert torch.equal(loaded.extra["outer"][0], torch.arange(3.0))
    for name, value in vars(saved).items():
        if name != "extra":
            assert getattr(loaded, name) == value
    assert {name: loaded.extra[name] for name in ("none", "pair", "$odd")} == {
        "none": None,
        "pair": (1, "a"),
        "$odd": True,
    }


# --- what is on disk


def test_the_model_is_a_plain_safetensors_file_with_tied_tensors_once(tmp_path: Path) -> None:
    model, optimizer, schedule = fresh(sgd)
    train(model, optimizer, schedule=schedule, steps=1)
    path = CheckpointWriter(tmp_path).save(model, optimizer, state=state(500))
    assert path == tmp_path / "step-00000500"
    assert names(path) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert "output.weight" not in load_file(path / "model.safetensors")
    assert "optimizer.state.0.momentum_buffer" in load_file(path / "optimizer.safetensors")
    loaded = load_checkpoint(path).model_state()
    assert loaded.keys() == model.state_dict().keys()
    assert loaded["output.weight"] is loaded["embedding.weight"]


def test_parameters_that_are_slices_of_one_flat_buffer_are_saved_each_on_its_own(tmp_path: Path) -> None:
    model, flat = nn.Linear(3, 2), torch.arange(8.0)
    model.weight.data, model.bias.data = flat[:6].view(2, 3), flat[6:]
    path = CheckpointWriter(tmp_path).save(model, None, state=state())
    assert (path / "model.safetensors").stat().st_size < 300
    with torch.no_grad():
        flat.zero_()
    load_checkpoint(path).apply(model)
    assert torch.equal(flat, torch.arange(8.0))


def test_dtypes_and_odd_shapes_survive(tmp_path: Path) -> None:
    model = nn.Module()
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool, torch.uint8]
    for index, kind in enumerate(kinds):
        model.register_buffer(f"b{index}", torch.ones(2, 3).to(kind).t())
    model.register_buffer("scalar", torch.tensor(3.5))
    model.register_buffer("empty", torch.zeros(0, 4))
    model.register_buffer("empty_too", torch.zeros(4, 0))
    CheckpointWriter(tmp_path).save(model, None, state=state())
    loaded = load_checkpoint(tmp_path).model_state()
    for name, value in model.state_dict().items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3, 4, 5, keep=2)
    assert names(tmp_path) == ["step-00000004", "step-00000005"]


def test_a_second_save_of_a_step_takes_the_place_of_the_first(tmp_path: Path) -> None:
    writer = save_steps(tmp_path, 1, 2, 2)
    assert names(tmp_path) == ["step-00000001", "step-00000002-2"]
    model = nn.Linear(2, 1)
    path = writer.save(model, None, state=state(2))
    assert names(tmp_path) == ["step-00000001", "step-00000002-3"]
    loaded = load_checkpoint(tmp_path)
    assert loaded.path == path
    assert torch.equal(loaded.model_state()["weight"], model.weight)


def test_going_back_to_an_earlier_step_sets_the_later_ones_aside(tmp_path: Path) -> None:
    save_steps(tmp_path, 100, 200, 300)
    reports: list[str] = []
    writer = CheckpointWriter(tmp_path, report=reports.append)
    path = writer.save(nn.Linear(1, 1), None, state=state(150))
    assert load_checkpoint(tmp_path).path == path
    assert [name for name in names(tmp_path) if name.startswith("step")] == ["step-00000100", "step-00000150"]
    assert len([name for name in names(tmp_path) if name.startswith("abandoned-step-")]) == 2
    assert len(reports) == 2


def test_leftovers_of_a_crashed_writer_are_never_loaded_and_are_swept(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".step-00000002.1234abcd.tmp")
    assert load_checkpoint(tmp_path).state.step == 1
    CheckpointWriter(tmp_path)
    assert names(tmp_path) == ["step-00000001"]


def test_a_full_disk_is_an_error_that_leaves_the_older_checkpoints_and_nothing_else(tmp_path: Path) -> None:
    writer = save_steps(tmp_path, 1)
    with full_disk(20_000), pytest.raises(CheckpointError, match="step 2 could not be saved: File too large") as caught:
        writer.save(nn.Linear(100, 100), None, state=state(2))
    assert "Training goes on" in caught.value.remedy
    assert names(tmp_path) == ["step-00000001"]
    assert load_checkpoint(tmp_path).state.step == 1
    writer.save(nn.Linear(100, 100), None, state=state(2))
    assert load_checkpoint(tmp_path).state.step == 2


def test_a_folder_that_is_gone_or_in_the_way_is_an_error_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be saved: Not a directory"):
        CheckpointWriter(tmp_path / "file").save(nn.Linear(1, 1), None, state=state())


@pytest.mark.parametrize("value", [object(), {1, 2}, np.zeros(3)])
def test_what_cannot_be_kept_is_named(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError, match=r"extra\.mine is a"):
        CheckpointWriter(tmp_path).save(nn.Linear(1, 1), None, state=state(extra={"mine": value}))
    assert names(tmp_path) == []


# --- damage


def damage(file: Path, kind: str) -> None:
    data = bytearray(file.read_bytes())
    if kind == "missing":
        file.unlink()
        return
    if kind == "truncated":
        del data[len(data) // 2 :]
    elif kind == "empty":
        data.clear()
    elif kind == "flipped at the end":  # in the values of tensors, after the header that describes them
        data[-1] ^= 0x10
    else:
        data[len(data) * 2 // 3] ^= 0x10
    file.write_bytes(data)


@pytest.mark.parametrize("kind", ["missing", "truncated", "empty", "flipped", "flipped at the end"])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused_by_the_name_of_the_file(tmp_path: Path, name: str, kind: str) -> None:
    save_steps(tmp_path, 1, 2)
    damage(tmp_path / "step-00000002" / name, kind)
    with pytest.raises(CheckpointCorruptError, match=f"step-00000002/{name} is unusable") as caught:
        load_checkpoint(tmp_path / "step-00000002")
    assert f"for example {tmp_path / 'step-00000001'}" in caught.value.remedy


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_of_a_run_the_last_undamaged_checkpoint_is_taken_and_said_so(tmp_path: Path, name: str) -> None:
    save_steps(tmp_path / "checkpoints", 1, 2)
    damage(tmp_path / "checkpoints" / "step-00000002" / name, "flipped")
    reports: list[str] = []
    assert load_checkpoint(tmp_path, report=reports.append).state.step == 1
    assert len(reports) == 1
    assert name in reports[0]


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    for path in list_checkpoints(tmp_path):
        damage(path / "model.safetensors", "truncated")
    with pytest.raises(CheckpointCorruptError, match="step-00000002/model") as caught:
        load_checkpoint(tmp_path)
    assert caught.value.remedy == "All 2 checkpoints of the run are damaged: copy them again, or start anew."


def test_any_flipped_bit_of_the_state_is_found(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    file = tmp_path / "step-00000001" / "state.json"
    whole = file.read_bytes()
    for position in range(0, len(whole), len(whole) // 40):
        for bit in (0, 5):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            file.write_bytes(flipped)
            try:
                load_checkpoint(file.parent)
            except CheckpointError:
                continue
            assert json.loads(flipped) == json.loads(whole)  # White space may differ.


@pytest.mark.parametrize("content", ["{}", "[]", '"text"', "[" * 100_000, '{"format": "another"}'])
def test_a_state_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(CheckpointCorruptError, match=r"state\.json is unusable"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_a_newer_format_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"format": "gossiptrain checkpoint", "version": 2}')
    with pytest.raises(CheckpointError, match="format 2 and this program reads 1"):
        load_checkpoint(tmp_path)


def test_where_there_is_no_checkpoint_it_says_what_to_give(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="There is no checkpoint in") as caught:
            load_checkpoint(path)
        assert "run folder" in caught.value.remedy
