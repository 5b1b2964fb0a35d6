"""Files of a data set that turned out to be damaged while a run goes on: a few are passed over, many end it.

Owns how many may be. Does not know what the files hold, nor what takes their place.
"""

from __future__ import annotations

from gossiptrain.errors import DataCorruptError

FEW = 10
"""So many damaged files are passed over in any data set."""
SHARE = 0.01
"""And so many of all files, where that is more."""


class DamagedFiles:
    """Those that were met so far, each once. Used by one thread."""

    def __init__(self, files: int) -> None:
        """files: how many there are in all."""
        self._most = max(FEW, round(SHARE * files))
        self._met: dict[str, None] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """In the order in which they were met."""
        return tuple(self._met)

    def pass_over(self, path: str, error: DataCorruptError) -> None:
        """Notes one. Raises `error`, with how many there were, where there are too many to go on."""
        self._met[path] = None
        if len(self._met) > self._most:
            raise DataCorruptError(
                f"{error.what} It is the {len(self._met)}th damaged file, and more than {self._most} are too many.",
                cause="The data set was copied or unpacked only in part, or its disk fails.",
                remedy="Fetch the data set again. The last checkpoint is kept.",
            ) from error
