"""The official folder: every way in which it may be wrong is told by name, and no pickle can do anything."""

from __future__ import annotations

import os
import pickle
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from gossiptrain.errors import DataCorruptError, DataMissingError
from gossiptrain.training.tasks.cifar_arrays import ImageArrays, Split
from gossiptrain.training.tasks.cifar_files import CHECKSUMS, is_cifar_folder, read_folder, unpickle
from tests.training.tasks.cifar_samples import python2_pickle, random_arrays, write_folder

Checksums = dict[Split, dict[str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cifar-10-batches-py"


def write_two_batches(folder: Path, arrays: ImageArrays) -> Checksums:
    half = len(arrays.labels) // 2
    first, second = (ImageArrays(arrays.images[part], arrays.labels[part]) for part in (slice(half), slice(half, None)))
    contents = {"data_batch_1": python2_pickle(first), "data_batch_2": python2_pickle(second)}
    return {"train": write_folder(folder, contents)}


def pairs(arrays: ImageArrays) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for image, label in zip(arrays.images, arrays.labels, strict=True)]


def test_all_images_are_read_with_their_labels(folder: Path) -> None:
    arrays = random_arrays(30)
    read = read_folder(folder, "train", checksums=write_two_batches(folder, arrays))
    assert read.images.shape == (30, 32, 32, 3)
    assert sorted(pairs(read)) == sorted(pairs(arrays))


def test_the_order_does_not_depend_on_that_of_the_source(folder: Path) -> None:
    arrays = random_arrays(30)
    turned = ImageArrays(arrays.images[::-1], arrays.labels[::-1])
    read = read_folder(folder, "train", checksums=write_two_batches(folder, arrays))
    assert pairs(read) == pairs(read_folder(folder, "train", checksums=write_two_batches(folder, turned)))


def test_missing_files_are_named(folder: Path) -> None:
    checksums = write_two_batches(folder, random_arrays(4))
    (folder / "data_batch_2").unlink()
    with pytest.raises(DataMissingError, match=r"incomplete: data_batch_2 missing[\s\S]*cifar-10-python.tar.gz"):
        read_folder(folder, "train", checksums=checksums)


def test_a_truncated_file_is_named_before_it_is_unpickled(folder: Path) -> None:
    checksums = write_two_batches(folder, random_arrays(4))
    batch = folder / "data_batch_1"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(DataCorruptError, match=r"data_batch_1 is not the published file: its MD5 is"):
        read_folder(folder, "train", checksums=checksums)


def test_a_changed_byte_is_noticed(folder: Path) -> None:
    checksums = write_two_batches(folder, random_arrays(4))
    batch = folder / "data_batch_2"
    content = bytearray(batch.read_bytes())
    content[-100] ^= 1
    batch.write_bytes(content)
    with pytest.raises(DataCorruptError, match="data_batch_2"):
        read_folder(folder, "train", checksums=checksums)


class Hostile:
    """What an attacker would put into a pickle."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_hostile_pickle_is_refused_by_its_checksum_and_by_the_unpickler(folder: Path) -> None:
    marker = folder.parent / "owned"
    content = pickle.dumps(Hostile(marker), protocol=2)
    checksums: Checksums = {"train": write_folder(folder, {"data_batch_1": content})}
    with pytest.raises(DataCorruptError, match="not the published file"):
        read_folder(folder, "train", checksums={"train": {"data_batch_1": "0" * 32}})
    with pytest.raises(DataCorruptError, match=r"asks for (posix|nt)\.system"):
        read_folder(folder, "train", checksums=checksums)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "numpy\nload", "numpy.core.multiarray\nfromfile", "numpy\ncore.multiarray._reconstruct"]
)
def test_nothing_but_the_three_names_is_allowed(name: str, folder: Path) -> None:
    with pytest.raises(DataCorruptError, match="asks for"):
        unpickle(b"\x80\x02c" + name.encode() + b"\n.", source=folder)


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", b"\x80\x02}(U\x04dataK", b"\x80\x02K\x01K\x02b."])
def test_rubbish_is_no_pickle(content: bytes, folder: Path) -> None:
    with pytest.raises(DataCorruptError, match="not a pickle of numpy arrays"):
        unpickle(content, source=folder)


def batch_of(**entries: object) -> bytes:
    return pickle.dumps({name.encode("latin-1"): value for name, value in entries.items()}, protocol=4)


@pytest.mark.parametrize(
    "content",
    [batch_of(), batch_of(data=[1, 2, 3], labels=[1]), batch_of(data=[0] * 3072, labels=[1, 2]), pickle.dumps(5)],
)
def test_a_pickle_of_something_else_is_refused(content: bytes, folder: Path) -> None:
    checksums: Checksums = {"train": write_folder(folder, {"data_batch_1": content})}
    with pytest.raises(DataCorruptError, match="data_batch_1"):
        read_folder(folder, "train", checksums=checksums)


def test_a_label_that_is_no_class_is_refused(folder: Path) -> None:
    arrays = random_arrays(4)
    arrays.labels[2] = 10
    with pytest.raises(DataCorruptError, match="one label from 0 to 9"):
        read_folder(folder, "train", checksums=write_two_batches(folder, arrays))


def test_a_folder_is_known_by_its_name_or_its_files(tmp_path: Path, folder: Path) -> None:
    assert not is_cifar_folder(tmp_path)
    assert not is_cifar_folder(folder)
    folder.mkdir()
    assert is_cifar_folder(folder)
    (tmp_path / "test_batch").write_bytes(b"")
    assert is_cifar_folder(tmp_path)


def test_the_checksums_are_those_of_the_real_files(real_cifar: Path) -> None:
    folder = real_cifar / "cifar-10-batches-py"
    for names in CHECKSUMS.values():
        for name, checksum in names.items():
            assert md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest() == checksum


def test_the_real_test_set_has_a_thousand_images_of_each_class(real_cifar: Path) -> None:
    arrays = read_folder(real_cifar / "cifar-10-batches-py", "test")
    assert np.bincount(arrays.labels).tolist() == [1000] * 10
    assert arrays.images.mean() == pytest.approx(121.5, abs=1)
