"""Where the tests of the tasks find real data, and what they share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

REPOSITORY_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds the real data sets; tests that need it are skipped where there is none."""
    named = os.environ.get("GOSSIPTRAIN_DATA")
    folder = Path(named) if named else REPOSITORY_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: GOSSIPTRAIN_DATA is not set, and there is no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def real_cifar(real_data: Path) -> Path:
    """A folder in which CIFAR-10 is found."""
    if not (real_data / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no cifar-10-batches-py in {real_data}")
    return real_data


@pytest.fixture(scope="session")
def real_imagenet(real_data: Path) -> Path:
    """A folder in which class folders of photos are found."""
    if not (real_data / "imagenet-mini").is_dir():
        pytest.skip(f"no imagenet-mini in {real_data}")
    return real_data


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run side by side: each takes one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
