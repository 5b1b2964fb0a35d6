"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gossiptrain.training.runs.whole_files import whole_file, write_whole
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


def test_what_somebody_else_writes_by_name_takes_its_place_at_the_end_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with whole_file(path) as unfinished:
        unfinished.write_bytes(b"old")
        assert not path.exists()
    with full_disk(2), pytest.raises(OSError, match="File too large"), whole_file(path) as unfinished:
        unfinished.write_bytes(b"new and longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
