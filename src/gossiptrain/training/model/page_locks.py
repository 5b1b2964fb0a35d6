"""Memory of this process that CUDA devices may read and write by themselves, because its pages are locked.

Owns what is locked: whole pages, each once, for as long as it is needed. Does not know what lies in the memory.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from gossiptrain.errors import GossipError

SUCCESS = 0
ALREADY_LOCKED = 712
"""cudaErrorHostMemoryAlreadyRegistered."""
PORTABLE = 1
"""cudaHostRegisterPortable: for all devices of this process."""

_logger = logging.getLogger("gossiptrain.training")


class Registrar(Protocol):
    """Locks and unlocks pages; both return an error code of the CUDA runtime, 0 where it has worked."""

    def register(self, address: int, size_bytes: int) -> int:
        """Locks the pages from `address` on."""

    def unregister(self, address: int) -> int:
        """Unlocks what was locked from `address` on."""


class CudaRegistrar:
    """The CUDA runtime."""

    def register(self, address: int, size_bytes: int) -> int:
        """Locks the pages from `address` on."""
        return _checked(int(torch.cuda.cudart().cudaHostRegister(address, size_bytes, PORTABLE)))  # type: ignore[no-untyped-call]

    def unregister(self, address: int) -> int:
        """Unlocks what was locked from `address` on."""
        return _checked(int(torch.cuda.cudart().cudaHostUnregister(address)))  # type: ignore[no-untyped-call]


def _checked(code: int) -> int:
    if code != SUCCESS:
        # The runtime remembers its last error, and torch would raise it at the next kernel of whoever comes along. The
        # kernel of this one takes it out; that it is raised here is what is wanted.
        with contextlib.suppress(RuntimeError):
            torch.zeros(1, device="cuda").add_(1)
    return code


class PageLocks:
    """Locks pages, and unlocks all of them again before their memory goes."""

    def __init__(self, registrar: Registrar | None = None) -> None:
        self._registrar = registrar or CudaRegistrar()
        self._locked: list[int] = []

    def lock(self, memory: Sequence[Tensor]) -> None:
        """Locks all pages that the tensors touch.

        Where the system allows no more locked memory, copies are slower and nothing else changes. Raises GossipError
        where the driver holds other pages for these addresses and does not let go of them.
        """
        for start, size_bytes in page_ranges([(tensor.data_ptr(), tensor.nbytes) for tensor in memory]):
            code = self._registrar.register(start, size_bytes)
            if code == ALREADY_LOCKED:
                # Left by memory that lay here before: the driver would copy to and from its pages, not ours.
                self._registrar.unregister(start)
                code = self._registrar.register(start, size_bytes)
            if code == SUCCESS:
                self._locked.append(start)
            elif code == ALREADY_LOCKED:
                raise GossipError(
                    "CUDA holds other memory at the addresses of the memory that is shared with the node.",
                    cause="A library in this process has closed page-locked memory without unlocking it.",
                    remedy="Call gossip() before that library is used, or in a process of its own.",
                )
            else:
                _logger.warning(
                    "%d bytes shared with the node cannot be page-locked (CUDA error %d): copies between them and the "
                    "GPU take longer. `ulimit -l` may be too low.",
                    size_bytes,
                    code,
                )

    def unlock(self) -> None:
        """Call it when no copy is under way any more, and before the memory is closed."""
        while self._locked:
            start = self._locked.pop()
            code = self._registrar.unregister(start)
            if code != SUCCESS:
                _logger.warning("Memory shared with the node cannot be unlocked (CUDA error %d).", code)


def page_ranges(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (address, bytes) of whole pages that cover all `places`, in order and each page once."""
    page = mmap.PAGESIZE
    ranges: list[tuple[int, int]] = []
    for address, size_bytes in sorted(place for place in places if place[1]):
        start, stop = address // page * page, -(-(address + size_bytes) // page) * page
        if ranges and start <= sum(ranges[-1]):
            start, stop = ranges[-1][0], max(stop, sum(ranges[-1]))
            ranges.pop()
        ranges.append((start, stop - start))
    return ranges
