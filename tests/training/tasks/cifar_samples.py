"""Small CIFAR-10 look-alikes, written in the formats of both sources."""

from __future__ import annotations

import io
from hashlib import md5
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image

from gossiptrain.training.tasks.cifar_arrays import ImageArrays


def random_arrays(count: int, *, seed: int = 0) -> ImageArrays:
    """Noise in the form of the data set, in no particular order."""
    random = np.random.RandomState(seed)
    images = random.randint(0, 256, size=(count, 32, 32, 3)).astype(np.uint8)
    return ImageArrays(images, random.randint(0, 10, size=count).astype(np.int64))


def python2_pickle(arrays: ImageArrays) -> bytes:
    """A batch as Python 2 wrote it, opcode by opcode: no Python 3 pickler produces its byte strings."""
    planes = np.ascontiguousarray(arrays.images.transpose(0, 3, 1, 2))
    labels = b"".join(b"K" + bytes([int(label)]) for label in arrays.labels)
    return b"\x80\x02}(" + _text(b"data") + _array(planes) + _text(b"labels") + b"](" + labels + b"eu."


def _array(planes: NDArray[np.uint8]) -> bytes:
    """numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), 'b') and the state of the array."""
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text(b"b") + b"\x87R"
    shape = b"M" + len(planes).to_bytes(2, "little") + b"M\x00\x0c\x86"
    kind = b"cnumpy\ndtype\n" + _text(b"u1") + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + _text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    pixels = planes.tobytes()
    return made + b"(K\x01" + shape + kind + b"\x89T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"


def _text(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def write_folder(folder: Path, contents: dict[str, bytes]) -> dict[str, str]:
    """Writes the files and returns their checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: md5(content, usedforsecurity=False).hexdigest() for name, content in contents.items()}


def parquet_bytes(arrays: ImageArrays) -> bytes:
    """The arrays as the hub stores them: PNG files in a column `img`."""
    table = pyarrow.table(
        {
            "img": [{"bytes": _png(image), "path": None} for image in arrays.images],
            "label": [int(label) for label in arrays.labels],
        }
    )
    written = io.BytesIO()
    pyarrow.parquet.write_table(table, written)
    return written.getvalue()


def _png(image: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return written.getvalue()
