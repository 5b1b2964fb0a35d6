"""Where data is looked for: argument before environment before cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossiptrain.errors import DataMissingError
from gossiptrain.training.tasks.locate import DATA_VARIABLE, cache_folder, data_root, find_folder


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def test_nothing_named_means_no_folder() -> None:
    assert data_root(None) is None


def test_an_empty_variable_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, "")
    assert data_root(None) is None


def test_the_argument_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, set_ = tmp_path / "said", tmp_path / "set"
    said.mkdir()
    set_.mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(set_))
    assert data_root(None) == set_
    assert data_root(said) == said


def test_a_named_folder_that_is_not_there_is_an_error_that_says_who_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(DataMissingError, match=r"gone[\s\S]*--data-dir names it"):
        data_root(gone)
    monkeypatch.setenv(DATA_VARIABLE, str(gone))
    with pytest.raises(DataMissingError, match=r"gone[\s\S]*GOSSIPTRAIN_DATA names it"):
        data_root(None)


def test_the_folder_itself_is_tried_before_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    assert find_folder(tmp_path, ["b", "c"], is_it=lambda folder: True) == tmp_path
    assert find_folder(tmp_path, ["a", "b", "c"], is_it=lambda folder: folder.name in "abc") == tmp_path / "a"
    assert find_folder(tmp_path, ["b"], is_it=lambda folder: False) is None


def test_the_cache_is_made_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = cache_folder("cifar10")
    assert folder.is_dir()
    assert folder.is_relative_to(tmp_path)
    assert folder.name == "cifar10"


def test_a_cache_that_cannot_be_made_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_the_way))
    monkeypatch.setenv("HOME", str(in_the_way))
    with pytest.raises(DataMissingError, match=r"cannot be made[\s\S]*--data-dir"):
        cache_folder("cifar10")
