"""Copies between tensors and the memory that is shared with the node; CUDA itself is not here."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gossiptrain.training.model.host_copies import HostCopies
from gossiptrain.training.model.page_locks import PageLocks

CPU = torch.device("cpu")


def test_what_lies_in_the_memory_already_is_not_copied() -> None:
    memory = torch.arange(6.0)
    copies = HostCopies([memory])
    copies.to_host([(memory[:3], memory[:3])])
    assert copies.arrived
    assert memory.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_what_lies_elsewhere_has_arrived_before_anything_else_is_done() -> None:
    memory, elsewhere = torch.zeros(4), torch.tensor([1.0, 2.0])
    copies = HostCopies([memory])
    copies.to_host([(elsewhere, memory[2:])])
    assert copies.arrived
    assert memory.tolist() == [0.0, 0.0, 1.0, 2.0]


def test_on_the_cpu_the_memory_itself_is_read() -> None:
    memory = torch.zeros(4)
    assert HostCopies([memory]).from_host(memory, CPU).data_ptr() == memory.data_ptr()


class NoLocks(PageLocks):
    """Refuses to lock anything."""

    def lock(self, memory: Sequence[torch.Tensor]) -> None:
        raise AssertionError("memory is locked that nobody will unlock")


def test_memory_that_was_let_go_of_is_not_locked_again() -> None:
    """Checkpoints may still be asked for after the end of a membership."""
    copies = HostCopies([torch.zeros(4)], NoLocks())
    copies.close()
    copies.serve(torch.device("cuda:0"))
