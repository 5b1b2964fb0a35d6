"""What tests of the laboratory share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """However many cores there are: two shards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    """A folder with a text to learn from."""
    (tmp_path / "input.txt").write_bytes(b"the quick brown fox jumps over the lazy dog. " * 400)
    return tmp_path
