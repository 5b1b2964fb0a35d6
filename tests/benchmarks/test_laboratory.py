"""The speed of the laboratory is measured beside that of real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from benchmarks.laboratory import __main__ as laboratory


@pytest.fixture(autouse=True)
def one_process() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.long
def test_virtual_peers_and_processes_take_turns() -> None:
    found = laboratory.measure("digits", 4, seconds=0.2, repetitions=2, data_dir=None)
    assert (found.task, found.peers, found.processes) == ("digits", 4, 1)
    assert found.in_processes.samples == found.in_laboratory.samples == found.ratio.samples == 2
    assert found.in_processes.minimum > 0
    assert found.ratio.minimum > 0


def test_without_a_folder_of_images_random_ones_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOSSIPTRAIN_DATA", raising=False)
    assert laboratory.open_source("cifar10", None).samples == 2000
