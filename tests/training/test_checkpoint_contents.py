"""Checkpoints whose checksums are right and whose content is wrong: refused in words, and nothing is changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gossiptrain.errors import CheckpointCorruptError, CheckpointError
from gossiptrain.training.runs.checkpoint_files import _digest_of
from gossiptrain.training.runs.checkpoint_folders import MODEL_FILE, OPTIMIZER_FILE, STATE_FILE
from gossiptrain.training.runs.checkpoints import CheckpointWriter, load_checkpoint
from tests.training.runs.test_checkpoints import adamw, fresh, state, train

WRONG: tuple[Any, ...] = (None, 2**70, "x", [], {"$dict": [1]})
LONGEST_LIST = 2
"""Of longer ones, such as the states of generators, only the first items are tried."""

Route = tuple[str | int, ...]


def routes(content: Any, *, at: Route = ()) -> Iterator[Route]:
    """Where something stands in the state."""
    items = content.items() if isinstance(content, dict) else enumerate(content[:LONGEST_LIST])
    for key, value in items:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from routes(value, at=(*at, key))


def rewritten(file: Path, content: dict[str, Any], route: Route, value: Any) -> None:
    """The state with one thing changed, or left out, and its checksum made anew."""
    changed = copy.deepcopy(content)
    inner: Any = changed
    for key in route[:-1]:
        inner = inner[key]
    if value == "gone":
        del inner[route[-1]]
    else:
        inner[route[-1]] = value
    changed["sha256"] = _digest_of(changed)
    file.write_text(json.dumps(changed))


def test_whatever_stands_in_a_state_with_a_right_checksum_it_is_taken_or_refused_in_words(tmp_path: Path) -> None:
    model, optimizer, schedule = fresh(adamw)
    train(model, optimizer, schedule=schedule, steps=2)
    extra = {"own_steps": 2, "outer": {"a": torch.zeros(2)}, "numbers": (1, 2.0, float("inf")), 3: None}
    path = CheckpointWriter(tmp_path).save(model, optimizer, state=state(2, extra={"all": extra}))
    file = path / STATE_FILE
    content = json.loads(file.read_text())
    content.pop("sha256")
    refused = 0
    for route in routes(content):
        for value in (*WRONG, "gone"):
            rewritten(file, content, route, value)
            try:
                load_checkpoint(path).apply(model, optimizer)
            except CheckpointError as error:
                refused += isinstance(error, CheckpointCorruptError)
    assert refused > 200


def test_a_checkpoint_whose_content_is_wrong_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    model, optimizer, _ = fresh(adamw)
    writer = CheckpointWriter(tmp_path)
    writer.save(model, optimizer, state=state(1))
    file = writer.save(model, optimizer, state=state(2)) / STATE_FILE
    content = json.loads(file.read_text())
    content.pop("sha256")
    for route in (("random", "python"), ("optimizer", "param_groups"), ("step",), ("tied", MODEL_FILE)):
        rewritten(file, content, route, "gone")
        assert load_checkpoint(tmp_path).state.step == 1
    rewritten(file, content, ("tied", OPTIMIZER_FILE), [])
    assert load_checkpoint(tmp_path).state.step == 1
