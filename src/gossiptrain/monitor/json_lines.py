"""The stream as it is, one JSON line per event: for programs. Knows nothing but the stream."""

from __future__ import annotations

from typing import TextIO

from gossiptrain.events import Event, event_to_json
from gossiptrain.monitor.view import write_line


class JsonLinesView:
    """Writes each event to `stream`, flushed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def handle(self, event: Event) -> None:
        """See `View`."""
        write_line(self._stream, event_to_json(event))

    def close(self) -> None:
        """Does nothing: every line was flushed, and the stream belongs to the caller."""
