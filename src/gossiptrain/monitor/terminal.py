"""The live view of one peer in a terminal.

Owns how the terminal is driven: the panel below, join commands and warnings scrolling by above it, the cursor given
back whatever happens. Does not know what the panel looks like.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.text import Text

from gossiptrain.events import Event, Finished, Notice, Started
from gossiptrain.monitor.event_text import EventText, Sentence
from gossiptrain.monitor.panel import PeerPanel
from gossiptrain.monitor.progress import PeerProgress
from gossiptrain.monitor.view import JoinText, new_join_lines


class TerminalView:
    """A panel that is drawn anew when an event comes, at most every `interval_s`; no thread of its own.

    The terminal is restored by `close`, on leaving a `with` block, and at the latest when the program ends.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        interval_s: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
        join_text: JoinText = "",
        console: Console | None = None,
    ) -> None:
        """console: where to draw instead of `stream`."""
        self._console = console or Console(file=stream)
        self._interval_s = interval_s
        self._clock = clock
        self._join_text = join_text
        self._event_text = EventText()
        self._progress = PeerProgress()
        self._messages: deque[Sentence] = deque(maxlen=8)
        self._drawn_at = -float("inf")
        self._lock = threading.RLock()
        self._panel = PeerPanel(self._progress, self._messages)
        self._begun: deque[Text] = deque(maxlen=8)
        self._join_lines: list[Text] = []
        """These two stand above the panel."""
        self._drawn_size = self._console.size
        self._live: Live | None = Live(
            self._panel,
            console=self._console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        atexit.register(self.close)

    def obey_q(self) -> None:
        """From now on says that the key q ends the run; who hears it is the caller's business."""
        self._panel.obeys_q = True

    def handle(self, event: Event) -> None:
        """See `View`."""
        with self._lock:
            if self._live is None:
                return
            self._progress.handle(event)
            message = self._event_text.tell(event)
            if message is not None and not isinstance(event, Started):
                self._messages.append(message)
            self._show_above(event, message)
            if not self._live.is_started:
                self._live.start()
            important = message is not None or isinstance(event, Started | Finished)
            if important or self._clock() - self._drawn_at >= self._interval_s:
                self._drawn_at = self._clock()
                self._begin_anew_in_another_size()
                self._live.refresh()

    def _show_above(self, event: Event, message: Sentence | None) -> None:
        """What was started and how to join it, above the panel, where it can be copied: not wrapped, not coloured."""
        begins = isinstance(event, Started) or (isinstance(event, Notice) and self._progress.started is None)
        if message is not None and begins:
            self._begun.append(Text(message.text, "bold"))
            self._print(self._begun[-1])
        if lines := new_join_lines(self._join_text, event, self._progress):
            self._join_lines = [Text(line) for line in lines]
            self._print(*self._join_lines)

    def _begin_anew_in_another_size(self) -> None:
        """In a window that was made wider or narrower, the lines of the last panel are where nobody knows."""
        if self._console.size == self._drawn_size:
            return
        self._drawn_size = self._console.size
        self._console.control(Control.clear(), Control.home())
        self._print(*self._begun, *self._join_lines)

    def _print(self, *lines: Text) -> None:
        for line in lines:
            self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Draws the last state, which stays, and gives the cursor back."""
        with self._lock:
            live, self._live = self._live, None
        atexit.unregister(self.close)
        if live is not None and live.is_started:
            with contextlib.suppress(OSError):
                live.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
