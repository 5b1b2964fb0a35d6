"""The number of a start of one identity, larger than that of any start before, whatever the computer's clock says.

Owns the file beside the identity's in which the last one is kept. Does not know what others make of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from gossiptrain.net.small_files import read_bounded, replace_whole

MAX_INCARNATION = 2**53 - 1
_MAX_DIGITS = 16


def incarnation_file(identity_path: str | Path) -> Path:
    """Where the last number of an identity is kept."""
    file = Path(identity_path).expanduser()
    return file.with_name(file.name + ".incarnation")


def next_incarnation(identity_path: str | None, *, unix_time_ns: Callable[[], int] = time.time_ns) -> int:
    """A number for this start. The caller holds the lock of the identity.

    It is the time in microseconds, or one more than the last number where the clock has been set back: others take no
    word of a peer whose number is smaller than one that they have seen. identity_path None: an identity for this start
    only, which nobody has seen before.
    """
    now = min(unix_time_ns() // 1000, MAX_INCARNATION)
    if identity_path is None:
        return now
    file = incarnation_file(identity_path)
    number = max(_last(file) + 1, now)
    # On a disk that takes nothing the clock has to do.
    with contextlib.suppress(OSError):
        replace_whole(file, f"{number}\n".encode())
    return number


def _last(file: Path) -> int:
    """The number in the file; -1 where there is none that can be used."""
    try:
        text = (read_bounded(file, limit_bytes=_MAX_DIGITS + 1) or b"").strip()
    except (OSError, ValueError):
        return -1
    if not text.isdigit() or int(text) >= MAX_INCARNATION:
        return -1
    return int(text)
