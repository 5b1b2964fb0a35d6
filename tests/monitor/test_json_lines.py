"""The stream for programs: every event, as it is."""

from __future__ import annotations

import io
import os

import pytest

from gossiptrain.events import Notice, event_from_json
from gossiptrain.monitor.json_lines import JsonLinesView
from gossiptrain.training.bus import EventBus
from tests.monitor.stream import alone, finished, short_run


def test_every_event_is_one_line_that_reads_back() -> None:
    stream, events = io.StringIO(), [*short_run(), alone(), finished()]
    view = JsonLinesView(stream)
    for event in events:
        view.handle(event)
    view.close()
    assert [event_from_json(line) for line in stream.getvalue().splitlines()] == events


def test_a_reader_that_went_away_ends_the_view_and_not_the_training() -> None:
    reading, writing = os.pipe()
    bus, seen = EventBus(), list[str]()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        bus.subscribe(JsonLinesView(stream).handle, name="standard output")
        bus.subscribe(lambda event: seen.append(event.message if isinstance(event, Notice) else event.event))
        bus.emit(alone())
        os.close(reading)
        bus.emit(alone())
        bus.emit(alone())
        assert seen == ["round_failed", "round_failed", "standard output is closed: Broken pipe", "round_failed"]
        with pytest.raises(BrokenPipeError):
            stream.close()
