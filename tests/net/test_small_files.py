"""Small files: what is read has a bound, and what is written is there whole or not at all."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from gossiptrain.net.small_files import read_bounded, replace_whole

LIMIT_BYTES = 2 << 20


@pytest.mark.parametrize("size_bytes", [0, 1, 100_000, LIMIT_BYTES])
def test_a_file_within_its_bound_is_read_whole(tmp_path: Path, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    replace_whole(tmp_path / "file", content)
    assert read_bounded(tmp_path / "file", limit_bytes=LIMIT_BYTES) == content


def test_a_file_that_is_not_there_is_none() -> None:
    assert read_bounded(Path("/nonexistent/file"), limit_bytes=LIMIT_BYTES) is None


@pytest.mark.parametrize("endless", [False, True])
def test_a_file_beyond_its_bound_is_an_error(tmp_path: Path, endless: bool) -> None:
    path = Path("/dev/zero") if endless else tmp_path / "file"
    if not endless:
        path.write_bytes(bytes(LIMIT_BYTES + 1))
    with pytest.raises(ValueError, match=f"longer than {LIMIT_BYTES} bytes"):
        read_bounded(path, limit_bytes=LIMIT_BYTES)


def test_a_pipe_that_nobody_writes_to_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_bounded(tmp_path / "pipe", limit_bytes=LIMIT_BYTES) == b""


def test_a_small_file_takes_little_memory_whatever_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"small")
    tracemalloc.start()
    try:
        read_bounded(tmp_path / "file", limit_bytes=LIMIT_BYTES)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 256 << 10


def test_a_file_that_cannot_be_replaced_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_whole(path, b"old")

    def fail(*paths: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        replace_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_was_replaced_is_for_its_owner_alone(tmp_path: Path) -> None:
    replace_whole(tmp_path / "file", b"secret")
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0
