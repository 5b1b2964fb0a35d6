"""The memory that trainer and node share: flat vectors, without a name and without copies.

Owns an anonymous file that lives only as long as a process holds it, so nothing is ever left behind. It takes twice
the size of what one round carries in float32; more only while a newcomer is being given the state. Who may write when
is agreed by the messages of `control`: a vector belongs to whoever was last told about it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile

import numpy as np

from gossiptrain.core.averaging import Vector

ELEMENT_BYTES = 4


class SharedVectors:
    """`snapshot` and `average`, float32 vectors as long as what a round carries, and `state`, of the flat length of the
    model or several times as long."""

    def __init__(self, descriptor: int, carried: int, *, state: int) -> None:
        """Attaches to the file behind `descriptor`, which this object owns from now on.

        carried: elements of the snapshot and of the average. state: those of the state.
        """
        self.descriptor = descriptor
        self._state_start = 2 * carried * ELEMENT_BYTES
        self._map = mmap.mmap(descriptor, self._state_start + state * ELEMENT_BYTES)
        whole: Vector = np.frombuffer(self._map, np.float32)
        self.snapshot, self.average, self.state = np.split(whole, [carried, 2 * carried])

    @classmethod
    def create(cls, carried: int, *, state: int) -> SharedVectors:
        """New vectors, all zero. Their descriptor is passed to the node when it is started."""
        descriptor = _anonymous_file()
        os.ftruncate(descriptor, (2 * carried + state) * ELEMENT_BYTES)
        vectors = cls(descriptor, carried, state=state)
        # Their pages are taken now: taking them in the first round would make a step wait three times as long.
        vectors.snapshot.fill(0.0)
        vectors.average.fill(0.0)
        return vectors

    def forget_state(self) -> None:
        """Gives back the pages of `state`, which is needed only while a newcomer is served; it reads as zeros then."""
        if hasattr(mmap, "MADV_REMOVE"):
            page = mmap.PAGESIZE
            start = -(-self._state_start // page) * page
            if start < len(self._map):
                self._map.madvise(mmap.MADV_REMOVE, start, len(self._map) - start)

    def close(self) -> None:
        """Lets go of the memory. The vectors must not be used any more."""
        del self.snapshot, self.average, self.state
        # Where somebody still holds a view, the memory goes with the last of them.
        with contextlib.suppress(BufferError):
            self._map.close()
        os.close(self.descriptor)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gossiptrain", os.MFD_CLOEXEC)
    descriptor, path = tempfile.mkstemp(prefix="gossiptrain-")
    os.unlink(path)
    return descriptor
