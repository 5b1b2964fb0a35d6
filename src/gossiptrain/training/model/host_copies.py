"""Copies between tensors on other devices and the memory that is shared with the node.

Owns the ways of it. For CUDA the memory is page-locked and each device copies on a stream of its own, so the trainer's
thread does not wait and the computation goes on beside; on the CPU, where the tensors lie in that memory, nothing is
copied; any other device copies and waits. Does not know what is copied.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor


class HostCopies:
    """Serves the tensors of some devices."""

    def __init__(self, devices: Collection[torch.device], host: Sequence[Tensor]) -> None:
        """host: all memory on this side, which must live as long as this object."""
        self._streams = {device: torch.cuda.Stream(device) for device in devices if device.type == "cuda"}  # type: ignore[no-untyped-call]
        self._done: list[torch.cuda.Event] = []
        if self._streams:
            for memory in host:
                _lock_pages(memory)

    @property
    def arrived(self) -> bool:
        """Whether all that `to_host` was given has arrived."""
        return all(event.query() for event in self._done)  # type: ignore[no-untyped-call]

    def to_host(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Copies each (tensor, memory) pair. The tensors may be changed afterwards: that then waits on the device."""
        for device, stream in self._streams.items():
            # After the computation that made the tensors, and before any that changes them.
            stream.wait_stream(torch.cuda.current_stream(device))
        for tensor, memory in pairs:
            if tensor.device in self._streams:
                with torch.cuda.stream(self._streams[tensor.device]):
                    memory.copy_(tensor, non_blocking=True)
            elif tensor.data_ptr() != memory.data_ptr():
                memory.copy_(tensor)
        self._done = [stream.record_event() for stream in self._streams.values()]

    def from_host(self, memory: Tensor, device: torch.device) -> Tensor:
        """The values of `memory` on the device; on the CPU that memory itself."""
        for event in self._done:
            torch.cuda.current_stream(device).wait_event(event)
        return memory.to(device, non_blocking=device in self._streams)


def _lock_pages(memory: Tensor) -> None:
    """Where the system allows no more locked memory, copies are slower and nothing else changes."""
    size_bytes = memory.numel() * memory.element_size()
    torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), size_bytes, 0)  # type: ignore[no-untyped-call]
