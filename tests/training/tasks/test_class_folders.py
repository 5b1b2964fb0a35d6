"""Trees of class folders: what is read, and what is said of a tree that is not right."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gossiptrain.errors import DataCorruptError, DataMissingError
from gossiptrain.training.tasks.class_folders import ClassSet, is_class_tree, read_class_folders
from tests.training.tasks.image_trees import write_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path)


def test_classes_are_the_sorted_folders_and_labels_their_places(tree: Path) -> None:
    folders = read_class_folders(tree)
    files = folders.images("train")
    assert folders.classes == ("n01", "n02", "n03")
    assert files.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [files.path(index).parent.name for index in (0, 4, 11)] == ["n01", "n02", "n03"]
    assert len(folders.images("val")) == 6
    assert all(files.path(index).is_file() for index in range(len(files)))


def test_only_images_count_whatever_the_case_of_their_ending(tree: Path) -> None:
    folder = tree / "train" / "n01"
    for name in ("notes.txt", ".hidden.jpg", "._n01_0.JPEG"):
        (folder / name).write_text("")
    shutil.copy(folder / "n01_0.JPEG", folder / "copy.jpg")
    (tree / "train" / "README").write_text("")
    (tree / "train" / ".cache").mkdir()
    folders = read_class_folders(tree)
    assert np.bincount(folders.images("train").labels).tolist() == [5, 4, 4]


def test_the_digest_tells_classes_of_other_names_apart() -> None:
    assert ClassSet.of(("a", "b")) == ClassSet.of(("a", "b"))
    assert (
        len({ClassSet.of(("a", "b")), ClassSet.of(("a", "c")), ClassSet.of(("ab",)), ClassSet.of(("a", "b", "c"))}) == 4
    )


def test_a_class_that_only_one_side_has_is_named(tree: Path) -> None:
    shutil.rmtree(tree / "val" / "n02")
    (tree / "val" / "n99").mkdir()
    with pytest.raises(DataCorruptError, match=r"differ: only in train: n02; only in val: n99"):
        read_class_folders(tree)


def test_many_differences_are_counted(tree: Path) -> None:
    for number in range(20):
        (tree / "train" / f"x{number:02}").mkdir()
    with pytest.raises(DataCorruptError, match="only in train: x00, x01, x02, x03, x04 and 15 more"):
        read_class_folders(tree)


def test_a_tree_without_val_is_incomplete(tree: Path) -> None:
    shutil.rmtree(tree / "val")
    assert is_class_tree(tree)
    with pytest.raises(DataMissingError, match="no folder val"):
        read_class_folders(tree)


def test_unsorted_images_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "photo.jpg").write_bytes(b"")
    with pytest.raises(DataCorruptError, match="holds 0 class folders"):
        read_class_folders(tmp_path)


def test_a_class_without_images_is_named(tree: Path) -> None:
    shutil.rmtree(tree / "val" / "n03")
    (tree / "val" / "n03").mkdir()
    with pytest.raises(DataCorruptError, match=r"val/n03 holds no images"):
        read_class_folders(tree).images("val")


def test_the_real_tree_is_read(real_imagenet: Path) -> None:
    folders = read_class_folders(real_imagenet / "imagenet-mini")
    assert len(folders.classes) == 10
    assert np.bincount(folders.images("train").labels).tolist() == [60] * 10
    assert np.bincount(folders.images("val").labels).tolist() == [15] * 10
