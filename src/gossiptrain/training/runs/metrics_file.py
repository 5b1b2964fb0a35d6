"""`metrics.jsonl`: one line per event, whatever the disk does.

Owns the file. Does not know what the events mean.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gossiptrain.events import Event, event_to_json


class MetricsFile:
    """`metrics.jsonl`: one line per event, handed to the system at once, so that a killed peer loses nothing.

    A line that cannot be written is dropped and training goes on: `report` hears so once, and once more when lines
    can be written again. No line is ever left joined to half of another. The same where the file, perhaps with its
    folder, is removed; it is made again as soon as the folder is there again.
    """

    def __init__(
        self, path: Path, *, report: Callable[[str], None], on_return: Callable[[], None] = lambda: None
    ) -> None:
        """Opens the file for appending. on_return: called when it was removed and is made again. Raises OSError."""
        self._path = path
        self._on_return = on_return
        self.was_removed = False
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        self._report = report
        self._torn = path.stat().st_size > 0 and not _ends_with_line_break(path)
        self._dropped = 0

    def write(self, event: Event) -> None:
        """Appends one event; never raises for a disk that does not take it, nor after `close`."""
        if self._file.closed:
            return
        if os.fstat(self._file.fileno()).st_nlink == 0 and not self._make_again():
            return
        line = (b"\n" if self._torn else b"") + event_to_json(event).encode() + b"\n"
        try:
            written = self._file.write(line)
        except OSError as error:
            self._drop(error.strerror or str(error))
            return
        if written < len(line):
            self._torn = self._torn or written > 0
            self._drop("the disk is full")
            return
        self._torn = False
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._report(f"metrics are written again; {dropped} events are missing from them")

    def _make_again(self) -> bool:
        """Opens a new file in place of one that was removed, and says whether it could."""
        if not self.was_removed:
            self.was_removed = True
            self._report(f"{self._path} was removed: the metrics up to now are lost; training goes on")
        if not self._path.parent.is_dir():
            return False
        try:
            self._file, removed = open(self._path, "ab", buffering=0), self._file  # noqa: SIM115 - as above
        except OSError:
            return False
        removed.close()
        self._torn = False
        self._on_return()
        return True

    def _drop(self, reason: str) -> None:
        self._dropped += 1
        if self._dropped == 1:
            self._report(f"metrics cannot be written: {reason}; training goes on without them")

    def close(self) -> None:
        """May be called twice."""
        self._file.close()


def _ends_with_line_break(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
