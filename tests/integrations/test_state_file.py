"""The state of a swarm in a host's checkpoint: read back exactly, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gossiptrain.errors import CheckpointError
from gossiptrain.integrations.state_file import STATE_FILE, read_state, write_state

STATE: dict[str, Any] = {"step": 30, "outer": {"momentum": torch.arange(4.0)}, "round_counts": {"median": float("inf")}}


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    write_state(tmp_path, STATE)
    found = read_state(tmp_path)
    assert found is not None
    assert torch.equal(found["outer"]["momentum"], STATE["outer"]["momentum"])
    assert (found["step"], found["round_counts"]) == (30, {"median": float("inf")})
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def test_where_there_is_none_none_is_read(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


@pytest.mark.parametrize("header", [None, {}, {"gossiptrain": "{"}, {"gossiptrain": '{"state": {}, "tied": {}}'}])
def test_another_file_is_refused_in_words(tmp_path: Path, header: dict[str, str] | None) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / STATE_FILE, metadata=header)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state(tmp_path)


def test_half_a_file_is_refused_in_words(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    whole = (tmp_path / STATE_FILE).read_bytes()
    (tmp_path / STATE_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state(tmp_path)
