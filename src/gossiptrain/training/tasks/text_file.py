"""A text in one file: Tiny Shakespeare, or any other one.

Owns where the file is looked for, the checksum of the published text, and what of it is training and what validation.
Does not know models and peers.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gossiptrain.errors import DataCorruptError, DataMissingError
from gossiptrain.training.tasks.locate import DATA_VARIABLE, data_root, find_folder, named_path

FILE = "input.txt"
FOLDER = "shakespeare"
"""A folder of this name must hold the published text; in any other one, `input.txt` may be whatever the user wants."""
SOURCE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
PUBLISHED_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class Text(NamedTuple):
    """The first nine tenths and the last tenth of a text, each as bytes: [N] uint8."""

    training: NDArray[np.uint8]
    validation: NDArray[np.uint8]


def load_text(data_dir: Path | None) -> Text:
    """The text in the file or the folder that the user named, or in its subfolder `shakespeare`.

    Raises DataMissingError where there is none, DataCorruptError where it cannot be read or is not the published one.
    """
    named = named_path(data_dir)
    if named is not None and named.is_file():
        return _parted(_content(named))
    root = data_root(data_dir)
    folder = find_folder(root, [FOLDER], is_it=lambda each: (each / FILE).is_file()) if root else None
    if folder is None:
        looked = f"{root / FILE} and {root / FOLDER / FILE}" if root else "no folder, as none was named"
        raise DataMissingError(
            "There is no text to learn from.",
            cause=f"Looked for {looked}.",
            remedy=f"Save {SOURCE_URL} as {Path(FOLDER, FILE)} in a folder, and name that folder with --data-dir or "
            f"{DATA_VARIABLE}. Or name a file with a text of your own.",
        )
    return _parted(_content(folder / FILE))


def _parted(read: bytes) -> Text:
    content = np.frombuffer(bytearray(read), dtype=np.uint8)  # in memory that torch may use
    end = len(content) * 9 // 10
    return Text(content[:end], content[end:])


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataCorruptError(f"{path} cannot be read: {error.strerror}.") from error
    found = sha256(content).hexdigest()
    if path.absolute().parent.name == FOLDER and found != PUBLISHED_SHA256:
        raise DataCorruptError(
            f"{path} is not the published text: its SHA-256 is {found}, not {PUBLISHED_SHA256} ({len(content):,} "
            "bytes).",
            cause="The download or the copy was cut short, or the file was changed.",
            remedy=f"Save {SOURCE_URL} there again. A text of your own belongs into a folder of another name.",
        )
    return content
