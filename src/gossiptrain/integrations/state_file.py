"""The state of a swarm as one file in a host's checkpoint.

Owns the form: tensors as safetensors, the rest as JSON in its header; no pickle. Does not know what the state means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gossiptrain.errors import CheckpointError
from gossiptrain.training.runs.checkpoint_values import from_json, set_apart, to_json
from gossiptrain.training.runs.whole_files import whole_file

STATE_FILE = "gossiptrain.safetensors"
_KEY = "gossiptrain"


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes it whole or not at all. Raises OSError, and CheckpointError for what cannot be kept."""
    tensors: dict[str, Tensor] = {}
    content = to_json(dict(state), "gossip", tensors)
    own, tied = set_apart(tensors)
    with whole_file(folder / STATE_FILE) as unfinished:
        save_file(own, unfinished, metadata={_KEY: json.dumps({"state": content, "tied": tied})})


def read_state(folder: Path) -> dict[str, Any] | None:
    """What `write_state` has written there; None where it has not. Raises CheckpointError for any other file."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            kept = json.loads(file.metadata()[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
        tensors.update({name: tensors[same] for name, same in kept["tied"].items()})
        state = from_json(kept["state"], tensors)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(state, dict) or not isinstance(state.get("step"), int):
        raise _damaged(path, "it holds no state of a swarm")
    return state


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read: {why}.",
        cause="The file was damaged, or is not one of gossiptrain's.",
        remedy="Go on from another checkpoint, or remove the file: the swarm's outer step then begins anew.",
    )
