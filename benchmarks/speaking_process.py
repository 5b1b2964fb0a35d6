"""Processes of a benchmark that tell what happens to them, each thing as a line of JSON.

Owns both ends of the pipe, waiting for a word, and the end of the process. Does not know what is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Word = dict[str, Any]
"""`what` it is, and whatever belongs to it."""


def say(what: str, **told: Any) -> None:
    """Tells the process that has started this one."""
    sys.stdout.write(json.dumps({"what": what, **told}) + "\n")
    sys.stdout.flush()


class SpeakingProcess:
    """One process, as it is seen from outside."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_word: Callable[[Word], None] = lambda word: None,
    ) -> None:
        """on_word: is called with each word, in a thread, before anybody else hears of it."""
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self._words: list[Word] = []
        self._on_word = on_word
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to hear."""
        return self._process.poll() is not None

    def said(self, what: str) -> list[Word]:
        """All of that kind so far."""
        return [word for word in self._words if word["what"] == what]

    def wait_for(self, what: str, *, longest_s: float, number: int = 0) -> Word:
        """The first word of that kind, or a later one by its number. Raises RuntimeError where it ends before, or is
        silent for too long."""
        deadline_s = time.monotonic() + longest_s
        while len(found := self.said(what)) <= number:
            if self.has_ended or time.monotonic() > deadline_s:
                raise RuntimeError(f"a process did not come to {what!r}: {self._words[-3:]}")
            time.sleep(0.05)
        return found[number]

    def tell(self, line: str) -> None:
        """Writes a line to its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Ends the process, if it has not ended, and lets go of what it said."""
        with self._process:
            self._process.kill()
            self._hearing.join()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word: Word = json.loads(line)
            self._on_word(word)
            self._words.append(word)
