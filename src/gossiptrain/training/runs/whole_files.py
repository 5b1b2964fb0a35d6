"""Files that are whole or not there, also after a crash or a power cut.

Owns how they are written. Does not know what is in them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of everything that is not whole yet; it is always in a hidden file or folder."""


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Some network file systems cannot do this for folders.
            raise
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Has the content of a file survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """For whoever writes a file by its name: gives the name of one that takes the place of `path` at the end of the
    block, and survives a power cut then. Raises OSError and leaves the old file as it was."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Writes a file so that whoever looks finds the old content or the new, never a part.

    mode: permissions of a new file, before the umask. Raises OSError and leaves the old file as it was.
    """
    with (
        whole_file(path) as temporary,
        open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file,
    ):
        file.write(data)
