"""What a decoder is for the fuzzer, and how one input is tried on it.

Owns what is noted of an input: whether something was raised that should not be, and how long it took. Does not know
which decoders there are, nor where inputs come from.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gossiptrain.net.transport import Buffer, PeerId, Stream, StreamClosedError

LIMIT_S = 1.0
"""Of processor time, for one input."""
LIMIT_GROWTH_BYTES = 64 << 20
"""By which the most memory that the process ever had may grow beyond what the seeds took."""
_PACKAGE = "gossiptrain"

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Decoder:
    """decode: takes any bytes. seeds: valid ones, made by the real encoders, that it takes without an error. rooms: the
    files of the package that it is about. raises: what it may raise; nothing else."""

    name: str
    decode: Callable[[bytes], object]
    seeds: Sequence[bytes]
    rooms: tuple[str, ...]
    raises: tuple[type[Exception], ...] = ()
    limit_bytes: int = 1 << 16
    """Inputs grow a little beyond it, so that the limit itself is tried."""


@dataclass
class Tally:
    """What has come of the inputs of one decoder."""

    inputs: int = 0
    slowest_s: float = 0.0
    slowest: bytes = b""
    failures: dict[str, bytes] = field(default_factory=dict)
    """By where it happened and what, the first input that did it."""
    base_bytes: int = field(default_factory=lambda: peak_bytes())

    @property
    def growth_bytes(self) -> int:
        """By how much the most memory that the process ever had has grown since the tally began."""
        return max(0, peak_bytes() - self.base_bytes)

    def note(self, decoder: Decoder, data: bytes) -> bool:
        """Tries one input, and says whether nothing was wrong with what came of it."""
        before = len(self.failures)
        begin_s = time.thread_time()
        try:
            decoder.decode(data)
        except decoder.raises:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, is what is looked for
            self.failures.setdefault(where(error), data)
        took_s = time.thread_time() - begin_s
        self.inputs += 1
        if took_s > self.slowest_s:
            self.slowest_s, self.slowest = took_s, data
            if took_s > LIMIT_S:
                self.failures.setdefault(f"took longer than {LIMIT_S:g} s of a core", data)
        return len(self.failures) == before


def where(error: BaseException) -> str:
    """The last line of the package, or of this folder, that the error has passed, and its kind."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _PACKAGE in frame.filename or "fuzz" in frame.filename]
    last = (own or list(frames))[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


def peak_bytes() -> int:
    """The most memory that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def keep(folder: Path, decoder: Decoder, data: bytes) -> Path:
    """Writes an input to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{decoder.name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def finished(course: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of a coroutine that never waits, as none does on a `BytesStream`."""
    try:
        course.send(None)
    except StopIteration as end:
        result: ResultT = end.value
        return result
    course.close()
    raise AssertionError("it waits for something, though all bytes are there")


class BytesStream(Stream):
    """A stream on which the other side has said all that it will."""

    def __init__(self, said: bytes, *, remote: str = "somebody") -> None:
        super().__init__(PeerId(remote))
        self._left = memoryview(said)

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return len(self._left)

    async def read_into(self, target: memoryview) -> None:
        if len(self._left) < len(target):
            raise StreamClosedError("the other side has ended the stream")
        target[:], self._left = self._left[: len(target)], self._left[len(target) :]

    async def write(self, data: Buffer) -> None:
        self.bytes_sent += memoryview(data).nbytes

    async def wait_for_end(self) -> None:
        """It has ended."""

    async def close(self) -> None:
        """Nothing is left to end."""

    def abort(self) -> None:
        """Nothing is left to end."""
