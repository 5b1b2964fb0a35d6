"""The states of all random generators that training may draw from, fit for JSON, and back.

Owns Python's, numpy's and torch's global generators. Does not know who draws from them.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_states_now() -> dict[str, Any]:
    """Where all generators stand; those of CUDA only where it has been used."""
    numpy_state = np.random.get_state(legacy=False)
    numpy_state["state"] = {name: np.asarray(value).tolist() for name, value in numpy_state["state"].items()}
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return {
        "python": random.getstate(),
        "numpy": numpy_state,
        "torch": _bytes_to_text(torch.get_rng_state()),
        "cuda": [_bytes_to_text(state) for state in cuda],
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Restores those of CUDA only where as many devices are there as when they were saved."""
    random.setstate(states["python"])
    numpy_state = dict(states["numpy"])
    key = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    numpy_state["state"] = {**numpy_state["state"], "key": key}
    np.random.set_state(numpy_state)
    torch.set_rng_state(_text_to_bytes(states["torch"]))
    if states["cuda"] and torch.cuda.is_available() and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all([_text_to_bytes(state) for state in states["cuda"]])


def _bytes_to_text(state: Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _text_to_bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
