"""The official Python version of CIFAR-10: the folder `cifar-10-batches-py`.

Owns its files, their published checksums and their reading. The batches are pickles from a known publisher: each one
is compared with its checksum before a byte of it is unpickled, and then only three names of numpy may be called.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from hashlib import md5
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct
from numpy.typing import NDArray

from gossiptrain.errors import DataCorruptError, DataMissingError
from gossiptrain.training.tasks.cifar_arrays import SIDE_PIXELS, ImageArrays, Split, checked_arrays

FOLDER = "cifar-10-batches-py"
ARCHIVE_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CHECKSUMS: Mapping[Split, Mapping[str, str]] = MappingProxyType(
    {
        "train": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
    }
)
"""MD5 of every batch file, as published with the archive."""

_ALLOWED_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def is_cifar_folder(folder: Path) -> bool:
    """Whether `folder` is, or tries to be, the official folder: it may still be incomplete."""
    return folder.is_dir() and (folder.name == FOLDER or any((folder / name).exists() for name in _all_names()))


def read_folder(folder: Path, split: Split, *, checksums: Mapping[Split, Mapping[str, str]] = CHECKSUMS) -> ImageArrays:
    """Reads one split. Raises DataMissingError or DataCorruptError, naming the files that are not there or not right.

    checksums: other files than the published ones, for tests.
    """
    missing = [name for name in checksums[split] if not (folder / name).is_file()]
    if missing:
        raise DataMissingError(
            f"{folder} is incomplete: {', '.join(missing)} missing.",
            cause="The archive was not unpacked completely.",
            remedy=f"Unpack {ARCHIVE_URL} again.",
        )
    images, labels = _joined([_read_batch(folder / name, checksum) for name, checksum in checksums[split].items()])
    return checked_arrays(images, labels, source=folder)


def _joined(batches: list[tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All batches as one, colours last: the layout in which convolutions are fastest and a crop is one indexing."""
    labels = np.concatenate([labels for _, labels in batches])
    images = np.empty((len(labels), SIDE_PIXELS, SIDE_PIXELS, 3), dtype=np.uint8)
    start = 0
    for planes, _ in batches:
        images[start : start + len(planes)] = planes.transpose(0, 2, 3, 1)
        start += len(planes)
    return images, labels


def _all_names() -> list[str]:
    return [name for names in CHECKSUMS.values() for name in names]


def _read_batch(path: Path, checksum: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images [n, 3, 32, 32] uint8 and labels [n] int64 of one batch file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataCorruptError(f"{path} cannot be read: {error.strerror}.") from error
    found = md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise DataCorruptError(
            f"{path} is not the published file: its MD5 is {found}, not {checksum} ({len(content):,} bytes).",
            cause="The download or the copy was cut short, or the file was changed.",
            remedy=f"Unpack {ARCHIVE_URL} again.",
        )
    batch = unpickle(content, source=path)
    try:
        planes = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, SIDE_PIXELS, SIDE_PIXELS)
        labels = np.asarray(batch[b"labels"], dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataCorruptError(f"{path} is a pickle, and not a batch of CIFAR-10.") from error
    if len(planes) != len(labels):
        raise DataCorruptError(f"{path} holds {len(planes)} images and {len(labels)} labels.")
    return planes, labels


def unpickle(content: bytes, *, source: Path) -> Any:
    """Unpickles with nothing but numpy arrays allowed. Raises DataCorruptError, naming `source`."""
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise DataCorruptError(f"{source} is not a pickle of numpy arrays: {error}.") from error


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and plain containers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The allowed names only."""
        try:
            return _ALLOWED_NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None
