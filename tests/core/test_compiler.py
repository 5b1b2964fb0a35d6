"""Loops are compiled, kept for the next start where they can be, and work where they cannot be kept."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = """
from numba import types
from gossiptrain.core.compiler import compiled


@compiled(types.int64(types.int64))
def doubled(number):
    return 2 * number
"""


def imported(folder: Path) -> ModuleType:
    """A new module with a compiled function, as at the start of a process."""
    path = folder / "doubling.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("doubling", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(folder: Path) -> list[Path]:
    """The files of compiled code, the index of each function first."""
    return sorted((folder / "__pycache__").glob("doubling*.nb*"), reverse=True)


def test_what_is_compiled_once_is_loaded_by_the_next_start(tmp_path: Path) -> None:
    first, second = imported(tmp_path).doubled, imported(tmp_path).doubled
    assert first(21) == second(21) == 42
    assert sum(first.stats.cache_misses.values()) == 1
    assert sum(second.stats.cache_hits.values()) == 1
    assert [path.suffix for path in kept(tmp_path)] == [".nbi", ".nbc"]


def test_a_type_that_was_not_promised_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="No matching definition"):
        imported(tmp_path).doubled("21")


def test_where_no_folder_can_be_written_it_is_compiled_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "__pycache__").touch()
    (tmp_path / "no folder").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no folder"))
    assert imported(tmp_path).doubled(21) == 42
    assert "NUMBA_CACHE_DIR" in caplog.text


def test_files_that_a_crash_has_left_empty_are_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    imported(tmp_path)
    for path in kept(tmp_path):
        path.write_bytes(b"")
        with caplog.at_level(logging.WARNING):
            assert imported(tmp_path).doubled(21) == 42
        assert "NUMBA_CACHE_DIR" in caplog.text
