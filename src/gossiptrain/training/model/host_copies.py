"""Copies between tensors on other devices and the memory that is shared with the node.

Owns the ways of it. For CUDA the memory is page-locked and each device copies on a stream of its own, so the trainer's
thread does not wait and the computation goes on beside; on the CPU, where the tensors lie in that memory, nothing is
copied; any other device copies and waits. Does not know what is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gossiptrain.training.model.page_locks import PageLocks


class HostCopies:
    """Serves the tensors of whatever devices come along."""

    def __init__(self, host: Sequence[Tensor], locks: PageLocks | None = None) -> None:
        """host: all memory on this side, which must live until `close`."""
        self._host = host
        self._locks = locks or PageLocks()
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self._done: list[torch.cuda.Event] = []
        self._closed = False

    def lies_in_memory(self, device: torch.device) -> bool:
        """Whether what tensors on this device share can be written straight into the memory."""
        return device.type == "cpu"

    def serve(self, device: torch.device) -> None:
        """Gets ready for a device. Raises GossipError where its driver cannot use the memory."""
        if device.type != "cuda" or device in self._streams or self._closed:
            return
        if not self._streams:
            self._locks.lock(self._host)
        self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @property
    def arrived(self) -> bool:
        """Whether all that `to_host` was given has arrived."""
        return all(event.query() for event in self._done)  # type: ignore[no-untyped-call]

    def to_host(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Copies each (tensor, memory) pair. Before a tensor is changed again, call `before_changes`."""
        for device, stream in self._streams.items():
            # After the computation that made the tensors.
            stream.wait_stream(torch.cuda.current_stream(device))
        for tensor, memory in pairs:
            if tensor.device in self._streams:
                with torch.cuda.stream(self._streams[tensor.device]):
                    memory.copy_(tensor, non_blocking=True)
            elif tensor.data_ptr() != memory.data_ptr():
                memory.copy_(tensor)
        self._done = [stream.record_event() for stream in self._streams.values()]

    def before_changes(self) -> None:
        """Has all later computation wait, on its device, until copies under way have read what they copy."""
        for device in self._streams:
            for event in self._done:
                torch.cuda.current_stream(device).wait_event(event)

    def from_host(self, memory: Tensor, device: torch.device) -> Tensor:
        """The values of `memory` on the device; on the CPU that memory itself."""
        return memory.to(device, non_blocking=device in self._streams)

    def finish(self) -> None:
        """Waits until no copy is under way."""
        for device in self._streams:
            torch.cuda.synchronize(device)

    def close(self) -> None:
        """Lets go of the memory, which may be closed then. What is copied later is copied as for any other device."""
        self._closed = True
        self.finish()
        self._locks.unlock()
        self._streams.clear()
        self._done.clear()
