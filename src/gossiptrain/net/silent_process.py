"""How long a process of this computer that does not answer is waited for.

Owns the difference between a process that stands still and one that is slow. On a computer with more work than it can
do everything answers late, and to replace what answers late only adds work; so a process that has used the processor
since it was heard last is waited for longer. Does not know what it was asked.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

MOST_TIMES = 12
"""A process that works and says nothing is given up after so many times the patience: it may be in an endless loop."""


def processor_s(pid: int) -> float | None:
    """Processor time that a process has used, all its threads together, to a hundredth of a second.

    None where the process has ended, or where the system does not tell: only Linux does.
    """
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class SilentProcess:
    """A process that is expected to say something again and again."""

    def __init__(self, pid: int, *, patience_s: float) -> None:
        """patience_s: how long it may neither say nor do anything."""
        self._pid = pid
        self._patience_s = patience_s
        self.heard()

    def heard(self) -> None:
        """It has just said something."""
        self._heard_s = self._active_s = time.monotonic()
        self._processor_s = processor_s(self._pid)

    def is_given_up(self) -> bool:
        """Whether it has neither said nor done anything for `patience_s`, or said nothing for `MOST_TIMES` as long.

        To be asked a few times within `patience_s`: what it did is only known to have been before the question.
        """
        now_s, used_s = time.monotonic(), processor_s(self._pid)
        if used_s != self._processor_s:
            self._active_s, self._processor_s = now_s, used_s
        return now_s - self._active_s >= self._patience_s or now_s - self._heard_s >= MOST_TIMES * self._patience_s
