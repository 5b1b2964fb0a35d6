"""Small files that a peer keeps for itself: read with a bound, replaced whole.

Owns that a file is never found half written and that no file, whoever put it there, costs much. Does not know what
stands in them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_PIECE_BYTES = 16 << 10
"""Read at once, so that a small file takes no more memory than it is long, whatever its bound."""


def read_bounded(path: Path, *, limit_bytes: int) -> bytes | None:
    """The content; None where there is no such file. Raises OSError, and ValueError where it is longer."""
    try:
        # Not blocking, so that a pipe of this name does not hold the peer up.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = bytearray()
            while len(content) <= limit_bytes and (piece := file.read(_PIECE_BYTES)):
                content += piece
    except FileNotFoundError:
        return None
    if len(content) > limit_bytes:
        raise ValueError(f"it is longer than {limit_bytes} bytes")
    return bytes(content)


def replace_whole(path: Path, content: bytes) -> None:
    """Writes a file, for its owner alone, so that whoever looks finds the old content or the new. Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
