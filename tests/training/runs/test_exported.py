"""The two files of an exported model: written whole, and believed only where they belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gossiptrain.errors import CheckpointCorruptError, CheckpointError, UsageError
from gossiptrain.training.runs.exported import (
    LIMIT_BYTES,
    ModelArguments,
    ModelDescription,
    read_export,
    write_export,
)

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}
DESCRIPTION = ModelDescription(
    gossiptrain="0.1.0",
    task="text",
    arguments=ModelArguments(model="nano"),
    fingerprint="text/transformer",
    step=9,
    inputs="bytes",
    vocabulary="bytes",
)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    assert write_export(path, TENSORS, DESCRIPTION) == tmp_path / "model.json"
    return path


def changed(path: Path, **values: Any) -> None:
    """Other values in the description; None takes one out."""
    beside = path.with_suffix(".json")
    content = {**json.loads(beside.read_text()), **values}
    beside.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("named", ["model.safetensors", "model.json", "."])
def test_what_is_written_is_read_again_by_any_of_its_names(exported: Path, named: str) -> None:
    description, tensors = read_export(exported.parent / named)
    assert equal(tensors, TENSORS)
    filled_in = {"tensors_bytes", "tensors_sha256"}
    assert description.model_dump(exclude=filled_in) == DESCRIPTION.model_dump(exclude=filled_in)


def test_two_models_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_export(tmp_path / f"{name}.safetensors", TENSORS, DESCRIPTION.model_copy(update={"task": name}))
    assert [read_export(tmp_path / f"{name}.safetensors")[0].task for name in ("one", "two")] == ["one", "two"]


def test_a_second_export_takes_the_place_of_the_first(exported: Path) -> None:
    write_export(exported, {"weight": torch.zeros(1)}, DESCRIPTION)
    assert equal(read_export(exported)[1], {"weight": torch.zeros(1)})


def test_a_file_that_is_something_else_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "mine"}')
    with pytest.raises(UsageError, match=r"package\.json, where something else is"):
        write_export(tmp_path / "package.safetensors", TENSORS, DESCRIPTION)
    assert (tmp_path / "package.json").read_text() == '{"name": "mine"}'
    assert not (tmp_path / "package.safetensors").exists()


def test_the_tensors_cannot_be_called_as_their_description_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Name it model\.safetensors"):
        write_export(tmp_path / "model.json", TENSORS, DESCRIPTION)


def test_tensors_of_another_export_are_noticed(exported: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    write_export(other, {name: tensor + 1 for name, tensor in TENSORS.items()}, DESCRIPTION)
    exported.write_bytes(other.read_bytes())
    with pytest.raises(CheckpointCorruptError, match=r"does not match the checksum in model\.json"):
        read_export(exported)


def test_tensors_that_are_cut_off_are_noticed(exported: Path) -> None:
    exported.write_bytes(exported.read_bytes()[:-4])
    with pytest.raises(CheckpointCorruptError, match=r"model\.safetensors is unusable: it has \d+ bytes instead of"):
        read_export(exported)


@pytest.mark.parametrize(
    "values",
    [
        {"format": "another"},
        {"version": 2},
        {"task": None},
        {"task": 5},
        {"more": 1},
        {"step": -1},
        {"step": True},
        {"arguments": {"model": ["nano"]}},
        {"arguments": {"classes": 10**12}},
        {"arguments": {"__class__": "os.system"}},
        {"class_names": "x"},
        {"inputs": "x" * 2000},
        {"tensors_sha256": "../../etc/passwd"},
        {"tensors_bytes": float("nan")},
    ],
)
def test_a_description_of_another_kind_is_refused(exported: Path, values: dict[str, Any]) -> None:
    changed(exported, **values)
    with pytest.raises(CheckpointCorruptError, match=r"model\.json is unusable"):
        read_export(exported)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (LIMIT_BYTES + 1)])
def test_a_description_that_is_no_such_thing_is_refused(exported: Path, content: bytes) -> None:
    exported.with_suffix(".json").write_bytes(content)
    with pytest.raises(CheckpointCorruptError, match=r"model\.json is unusable"):
        read_export(exported)


def test_what_is_missing_is_named(exported: Path) -> None:
    exported.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"There is no .*model\.json"):
        read_export(exported)
    exported.unlink()
    with pytest.raises(CheckpointError, match="There is no exported model in"):
        read_export(exported.parent)
