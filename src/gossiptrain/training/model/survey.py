"""The tensors of a model and their names, which are the same whether it is compiled, wrapped or plain.

Owns the walk through the modules: what counts as one tensor, which tensors are this peer's own business, and which
cannot be averaged at all. Remembers nothing: a model is surveyed each time it is used, because modules may replace
their tensors whenever they like. Does not know flat vectors.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from gossiptrain.errors import UsageError

COMPILED = "_orig_mod"
"""The only child of what `torch.compile` makes of a module."""
SHARDED = "_fsdp_wrapped_module"
"""That of FullyShardedDataParallel."""


@dataclass(frozen=True)
class FoundTensor:
    """One tensor of a model. objects: what stands under each of its names; they share their memory."""

    names: tuple[str, ...]
    objects: tuple[Tensor, ...]
    is_parameter: bool

    @property
    def tensor(self) -> Tensor:
        """Its memory; changing it in place changes the model and nothing that autograd knows."""
        return self.objects[0].detach()

    @property
    def requires_grad(self) -> bool:
        """Whether it is trained under any of its names."""
        return any(tensor.requires_grad for tensor in self.objects)


def survey(model: nn.Module) -> list[FoundTensor]:
    """All parameters, then all persistent floating-point buffers, each tensor once, in the order of the modules.

    Buffers that are not persistent, and integer, boolean and complex ones, are each peer's own. Raises UsageError for
    tensors and wrappers that are not dense memory of this process.
    """
    modules = list(_modules(model, "", set()))
    found: dict[Hashable, FoundTensor] = {}
    for name, tensor in _named_parameters(modules):
        _refuse_unusable(name, tensor, changes=tensor.requires_grad)
        _add(found, name, tensor, is_parameter=True)
    for name, tensor in _named_buffers(modules):
        _refuse_unusable(name, tensor, changes=True)
        _add(found, name, tensor, is_parameter=False)
    return list(found.values())


def _modules(module: nn.Module, prefix: str, seen: set[int]) -> Iterator[tuple[str, nn.Module]]:
    """Each module once with the beginning of its tensors' names, wrappers left out."""
    module = _unwrapped(module)
    if id(module) in seen:
        return
    seen.add(id(module))
    yield prefix, module
    for name, child in module._modules.items():
        if child is not None:
            yield from _modules(child, f"{prefix}{name}.", seen)


def _unwrapped(module: nn.Module) -> nn.Module:
    if isinstance(module, DistributedDataParallel):
        _refuse_several_ranks(module)
        return _unwrapped(module.module)
    if isinstance(module, DataParallel):
        return _unwrapped(module.module)
    if SHARDED in module._modules:
        raise UsageError(
            "The model is sharded by FullyShardedDataParallel: no process holds its parameters whole.",
            remedy="Give gossip() a model that is whole in this process, and start one peer for each.",
        )
    inner = module._modules.get(COMPILED)
    return module if inner is None else _unwrapped(inner)


def _refuse_several_ranks(module: DistributedDataParallel) -> None:
    ranks = module.process_group.size()
    if ranks > 1:
        raise UsageError(
            f"The model is shared by {ranks} processes through DistributedDataParallel, and each of them would become "
            "a peer of its own.",
            cause="Their copies must stay equal, and each peer meets other groups at other times.",
            remedy="Start one peer for each GPU without DistributedDataParallel: gossip() averages them, too.",
        )


def _named_parameters(modules: list[tuple[str, nn.Module]]) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in modules:
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield prefix + name, parameter


def _named_buffers(modules: list[tuple[str, nn.Module]]) -> Iterator[tuple[str, Tensor]]:
    """Those that are averaged."""
    for prefix, module in modules:
        for name, buffer in module._buffers.items():
            if buffer is None or name in module._non_persistent_buffers_set:
                continue
            if is_lazy(buffer) or buffer.is_floating_point():
                yield prefix + name, buffer


def _add(found: dict[Hashable, FoundTensor], name: str, tensor: Tensor, *, is_parameter: bool) -> None:
    """Tied tensors are one, also where they are different objects with the same memory (`a.data = b.data`)."""
    same: Hashable = id(tensor)
    if tensor.numel():
        same = (tensor.device, tensor.dtype, tensor.data_ptr(), tensor.shape, tensor.stride())
    if same in found:
        first = found[same]
        names, objects = (*first.names, name), (*first.objects, tensor)
        found[same] = FoundTensor(names, objects, first.is_parameter)
    else:
        found[same] = FoundTensor((name,), (tensor,), is_parameter)


def _refuse_unusable(name: str, tensor: Tensor, *, changes: bool) -> None:
    """changes: whether the tensor is averaged, not only compared."""
    if is_lazy(tensor):
        raise UsageError(f"{name} has no shape yet.", remedy="Run one batch through the model before gossip().")
    if tensor.is_meta:
        raise UsageError(f"{name} has no values yet.", remedy="Give the model its memory and values before gossip().")
    if is_traceable_wrapper_subclass(tensor):
        raise UsageError(
            f"{name} is a {type(tensor).__name__}, which is not plain memory of this process.",
            cause="Sharded, quantised and nested tensors cannot be averaged element by element.",
            remedy="Give gossip() a model of ordinary tensors.",
        )
    if tensor.layout != torch.strided:
        raise UsageError(
            f"{name} is a sparse tensor ({tensor.layout}); only dense ones are averaged.",
            remedy="Make it dense, or register it with persistent=False if each peer may have its own.",
        )
    if changes:
        _refuse_unchangeable(name, tensor)


def _refuse_unchangeable(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise UsageError(
            f"{name} has the type {str(tensor.dtype).removeprefix('torch.')}; only floating-point tensors are "
            "averaged.",
            remedy="Keep real and imaginary parts as two real parameters, and join them with torch.complex().",
        )
    if tensor.is_inference():
        raise UsageError(
            f"{name} was made in inference mode, where tensors can never be changed afterwards.",
            remedy="Build and load the model outside of torch.inference_mode().",
        )
    if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        raise UsageError(
            f"Several elements of {name} lie in one place of memory.",
            cause="It was made by expand(), and writing one element would change the others.",
            remedy="Give it memory of its own with .clone().",
        )
