"""Which pages are locked and unlocked, and when; the CUDA runtime itself is not here, see `benchmarks.gpu`."""

from __future__ import annotations

import logging
import mmap

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.errors import GossipError
from gossiptrain.node.memory import SharedVectors
from gossiptrain.training.model.page_locks import ALREADY_LOCKED, PageLocks, page_ranges

PAGE = mmap.PAGESIZE
OUT_OF_MEMORY = 2


class Driver:
    """A registrar with the rules of the CUDA runtime: pages are locked once, and unlocked by their first address."""

    def __init__(self) -> None:
        self.locked: dict[int, int] = {}
        self.refusal = 0

    def register(self, address: int, size_bytes: int) -> int:
        if self.refusal:
            return self.refusal
        if any(start < address + size_bytes and address < start + size for start, size in self.locked.items()):
            return ALREADY_LOCKED
        self.locked[address] = size_bytes
        return 0

    def unregister(self, address: int) -> int:
        return 0 if self.locked.pop(address, None) else 713


def tensors_of(vectors: SharedVectors) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(vectors.snapshot), torch.from_numpy(vectors.average)


def test_both_vectors_of_the_shared_memory_are_locked_as_one_although_they_share_a_page() -> None:
    vectors, driver = SharedVectors.create(1000, state=1000), Driver()
    locks = PageLocks(driver)
    locks.lock(tensors_of(vectors))
    assert list(driver.locked.items()) == [(vectors.snapshot.ctypes.data, -(-8000 // PAGE) * PAGE)]
    locks.unlock()
    assert not driver.locked
    vectors.close()


def test_a_second_membership_of_one_process_may_lock_the_same_addresses() -> None:
    driver = Driver()
    memory = torch.zeros(10 * PAGE, dtype=torch.uint8)
    for _ in range(2):
        locks = PageLocks(driver)
        locks.lock([memory])
        assert driver.locked
        locks.unlock()
        assert not driver.locked


def test_what_is_locked_is_unlocked_once() -> None:
    driver = Driver()
    locks = PageLocks(driver)
    locks.lock([torch.zeros(PAGE)])
    locks.unlock()
    locks.unlock()
    assert not driver.locked


def test_pages_that_were_left_locked_by_memory_that_is_gone_are_locked_anew() -> None:
    driver = Driver()
    memory = torch.zeros(3 * PAGE, dtype=torch.uint8)
    ((start, size_bytes),) = page_ranges([(memory.data_ptr(), memory.nbytes)])
    driver.register(start, PAGE)
    PageLocks(driver).lock([memory])
    assert driver.locked == {start: size_bytes}


def test_memory_that_the_driver_takes_for_another_is_never_used() -> None:
    driver = Driver()
    driver.refusal = ALREADY_LOCKED
    with pytest.raises(GossipError, match="CUDA holds other memory") as caught:
        PageLocks(driver).lock([torch.zeros(4)])
    assert caught.value.cause
    assert caught.value.remedy


def test_where_no_more_memory_may_be_locked_it_is_said_and_nothing_is_unlocked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = Driver()
    driver.refusal = OUT_OF_MEMORY
    locks = PageLocks(driver)
    with caplog.at_level(logging.WARNING):
        locks.lock([torch.zeros(4)])
        locks.unlock()
    (said,) = caplog.messages
    assert "cannot be page-locked (CUDA error 2)" in said


@given(st.lists(st.tuples(st.integers(0, 40 * PAGE), st.integers(0, 5 * PAGE)), max_size=6))
def test_ranges_are_whole_pages_each_once_and_cover_everything(places: list[tuple[int, int]]) -> None:
    ranges = page_ranges(places)
    pages = [page for start, size in ranges for page in range(start // PAGE, (start + size) // PAGE)]
    assert all(start % PAGE == size % PAGE == 0 < size for start, size in ranges)
    assert len(pages) == len(set(pages))
    touched: set[int] = set()
    for start, size in places:
        touched.update(range(start // PAGE, (start + size - 1) // PAGE + 1) if size else ())
    assert set(pages) == touched


def test_memory_of_no_elements_needs_no_pages() -> None:
    driver = Driver()
    PageLocks(driver).lock([torch.from_numpy(np.zeros(0, np.float32))])
    assert not driver.locked
