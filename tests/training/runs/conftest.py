"""What all tests of this wing share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums of several threads are not the same from one run to the next."""
    torch.set_num_threads(1)
