"""Single keys from the terminal, without Enter.

Owns the mode of the terminal while keys are read, and its return whatever happens. Where there is no terminal, or
none whose mode can be changed, no key is ever pressed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TextIO

if sys.platform != "win32":
    import termios
    import tty

MAX_KEYS = 64
LOOK_S = 0.1


class Keys:
    """While entered, `pressed` gives the keys that were typed since the last call. Ctrl+C stays a signal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """stream: the terminal; None is standard input."""
        self._stream = sys.stdin if stream is None else stream
        self._descriptor: int | None = None
        self._before: list[object] = []

    def __enter__(self) -> Self:
        if sys.platform == "win32" or not _is_ours(self._stream):
            return self
        descriptor = self._stream.fileno()
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor, termios.TCSANOW)
            self._descriptor = descriptor
            atexit.register(self._restore)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @property
    def works(self) -> bool:
        """Whether keys can be read."""
        return self._descriptor is not None

    def pressed(self) -> str:
        """The keys typed since the last call, in lower case; returns at once."""
        if self._descriptor is None:
            return ""
        try:
            if not select.select([self._descriptor], [], [], 0)[0]:
                return ""
            typed = os.read(self._descriptor, MAX_KEYS)
        except OSError:
            typed = b""
        if not typed:  # The terminal has gone.
            self._restore()
        return typed.decode("ascii", "replace").lower()

    def _restore(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        atexit.unregister(self._restore)
        if descriptor is not None and sys.platform != "win32":
            with contextlib.suppress(termios.error):
                # What was typed and not read is dropped, so that it does not end up in the shell.
                termios.tcsetattr(descriptor, termios.TCSAFLUSH, self._before)  # type: ignore[arg-type]


@contextlib.contextmanager
def obeyed(key: str, act: Callable[[], None], *, stream: TextIO | None = None) -> Iterator[bool]:
    """In the block `act` is called, once and in a thread of its own, when the key is typed; says whether it can be.

    For programs that do something else meanwhile than wait for keys. stream: as for `Keys`.
    """
    over = threading.Event()

    def listen() -> None:
        while keys.works and not over.wait(LOOK_S):
            if key in keys.pressed():
                act()
                return

    with Keys(stream) as keys:
        works = keys.works
        listener = threading.Thread(target=listen, name="gossiptrain keys", daemon=True)
        listener.start()
        try:
            yield works
        finally:
            over.set()
            listener.join()


def _is_ours(stream: TextIO) -> bool:
    """Whether the stream is a terminal in whose foreground this process runs: the mode of others is not touched."""
    try:
        return stream.isatty() and os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
