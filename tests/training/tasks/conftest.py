"""Where the tests of the tasks find real data, and what they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def real_imagenet(real_data: Path) -> Path:
    """A folder in which class folders of photos are found."""
    if not (real_data / "imagenet-mini").is_dir():
        pytest.skip(f"no imagenet-mini in {real_data}")
    return real_data


@pytest.fixture(scope="session")
def real_shakespeare(real_data: Path) -> Path:
    """A folder in which Tiny Shakespeare is found."""
    if not (real_data / "shakespeare").is_dir():
        pytest.skip(f"no shakespeare in {real_data}")
    return real_data


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run side by side: each takes one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
