"""What the page costs is measured as it is said."""

from __future__ import annotations

from benchmarks.page.__main__ import told_and_not_trained
from benchmarks.page.story import Story

from gossiptrain.events import SwarmSeen, event_from_json, event_to_json


def test_a_story_is_told_by_events_that_can_be_written_and_read() -> None:
    told = list(Story(12, seconds=40).events())
    assert [event_from_json(event_to_json(event)) for event in told] == told
    assert any(isinstance(event, SwarmSeen) for event in told)


def test_folding_and_serving_are_measured() -> None:
    figures = told_and_not_trained(8, seconds=20, requests=2)
    assert len(figures) == 2
    assert all(figure.worst > 0 for figure in figures)
