"""Values of a run as tensors and JSON, and back: exactly, and without pickle.

Owns the two forms. Does not know files, models or what the values mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossiptrain.errors import CheckpointError


def set_apart(tensors: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors on the CPU that share no memory, as safetensors wants them, and which names mean a tensor kept already.

    Tensors that merely overlap, such as slices of one flat buffer, become separate copies.
    """
    own: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first_names: dict[Any, str] = {}
    memory: set[int] = set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise CheckpointError(
                f"{name!r} cannot be kept in a checkpoint: it is not a dense tensor.",
                remedy="Keep it out of the model's state dict, for example as a buffer with persistent=False.",
            )
        same = (tensor.device, tensor.dtype, tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and same in first_names:
            tied[name] = first_names[same]
            continue
        first_names[same] = name
        dense = tensor.detach().cpu().contiguous()
        storage = dense.untyped_storage()
        if storage.data_ptr() in memory or storage.nbytes() != dense.nbytes:
            dense = dense.clone()
        memory.add(dense.untyped_storage().data_ptr())
        own[name] = dense
    return own, tied


def to_json(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON that `from_json` turns back into exactly the same; tensors are put into `tensors` by name."""
    if isinstance(value, Tensor):
        while name in tensors:
            name += "_"
        tensors[name] = value
        return {"$tensor": name}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return to_json(value.item(), name, tensors)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, list | tuple):
        items = [to_json(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, Mapping):
        pairs = [(key, to_json(item, f"{name}.{key}", tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$dict": [[to_json(key, name, tensors), item] for key, item in pairs]}
    raise CheckpointError(
        f"{name} is a {type(value).__name__}, which cannot be kept in a checkpoint.",
        remedy="Keep numbers, text, tensors, and lists, tuples and dicts of these.",
    )


def from_json(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `to_json` was given; `tensors` holds those that it put aside. Raises KeyError where one is missing."""
    if isinstance(value, list):
        return [from_json(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$tensor": name}:
            return tensors[name]
        case {"$float": text}:
            return float(text)
        case {"$tuple": items}:
            return tuple(from_json(item, tensors) for item in items)
        case {"$dict": pairs}:
            return {from_json(key, tensors): from_json(item, tensors) for key, item in pairs}
    return {key: from_json(item, tensors) for key, item in value.items()}
