"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gossiptrain.training.runs.whole_files import write_whole
from tests.training.runs.test_folder import full_disk


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with full_disk(2), pytest.raises(OSError, match="File too large"):
        write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old"
    write_whole(path, b"new and longer")
    assert path.read_bytes() == b"new and longer"
    assert os.listdir(tmp_path) == ["file"]
