"""One plain line every few seconds, and at once what a person should not miss: for pipes, files and journals.

Owns how the lines look and when they are written; does not know terminals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from gossiptrain.events import Event, StepDone
from gossiptrain.monitor.event_text import EventText
from gossiptrain.monitor.progress import PeerProgress
from gossiptrain.monitor.view import JoinText, new_join_lines, write_line
from gossiptrain.monitor.words import counted, data_size, duration, number, paths_in_words, percent


class PlainView:
    """Writes to `stream`: at most one progress line per `interval_s`, and messages at once."""

    def __init__(
        self,
        stream: TextIO,
        *,
        interval_s: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
        join_text: JoinText = "",
    ) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._join_text = join_text
        self._event_text = EventText()
        self._progress = PeerProgress()
        self._next_line_at = -float("inf")

    def handle(self, event: Event) -> None:
        """See `View`."""
        self._progress.handle(event)
        message = self._event_text.tell(event)
        if message is not None:
            write_line(self._stream, f"warning: {message.text}" if message.level == "warning" else message.text)
        for line in new_join_lines(self._join_text, event, self._progress):
            write_line(self._stream, line)
        if isinstance(event, StepDone) and self._clock() >= self._next_line_at:
            self._next_line_at = self._clock() + self._interval_s
            write_line(self._stream, progress_line(self._progress))

    def close(self) -> None:
        """Does nothing: every line was flushed, and the stream belongs to the caller."""


def progress_line(progress: PeerProgress) -> str:
    """Where the peer stands, in one line; what is not known yet is left out."""
    parts = [f"step {progress.step or 0:,}"]
    if (latest := progress.latest) is not None:
        parts += [f"epoch {latest.epoch:.2f}", f"loss {number(latest.loss)}"]
        parts.append(f"{number(latest.samples_per_s, 3)} samples/s")
    if progress.evaluated is not None:
        parts.append(f"accuracy {percent(progress.accuracy)}")
    parts.append(counted(progress.peers, "peer"))
    if (last := progress.last_round) is not None:
        about = (f"{len(last.members)} peers", duration(last.seconds), paths_in_words(last.paths))
        ending = ", ".join(filter(None, about))
        parts.append(f"{counted(progress.rounds, 'round')} (last: {ending})")
        parts.append(f"{data_size(progress.bytes_sent)} sent")
        parts.append(f"disagreement {percent(last.disagreement)}")
    return "  ".join(parts)
