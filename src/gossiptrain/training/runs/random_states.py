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


def check_random_states(states: Any) -> None:
    """Raises ValueError where these are no states that `restore_random_states` can restore; changes nothing."""
    try:
        random.Random().setstate(states["python"])
        np.random.RandomState().set_state(_numpy_state(states["numpy"]))
        torch.Generator().set_state(_text_to_bytes(states["torch"]))
        for state in states["cuda"]:
            _text_to_bytes(state)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"the states of the random generators are none: {type(error).__name__}") from error


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Restores those of CUDA only where as many devices are there as when they were saved."""
    random.setstate(states["python"])
    np.random.set_state(_numpy_state(states["numpy"]))
    torch.set_rng_state(_text_to_bytes(states["torch"]))
    if states["cuda"] and torch.cuda.is_available() and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all([_text_to_bytes(state) for state in states["cuda"]])


def _numpy_state(saved: Mapping[str, Any]) -> dict[str, Any]:
    key = np.array(saved["state"]["key"], dtype=np.uint32)
    return {**saved, "state": {**saved["state"], "key": key}}


def _bytes_to_text(state: Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _text_to_bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
