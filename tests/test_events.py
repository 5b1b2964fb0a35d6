"""The stream of events: one line each, readable by older and newer programs."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossiptrain.events import (
    EVENT_KINDS,
    MAX_LINE_CHARS,
    MAX_TEXT_CHARS,
    CheckpointFailed,
    CheckpointSaved,
    Evaluated,
    Event,
    Finished,
    Joined,
    Met,
    NodeChanged,
    Notice,
    PeerChanged,
    PeerSeen,
    RoundCommitted,
    RoundFailed,
    RoundRefused,
    Shown,
    Started,
    StepDone,
    SwarmSeen,
    event_from_json,
    event_to_json,
)

ALL: list[Event] = [
    Started(
        time=1.5,
        peer_id="12D3KooWabc",
        run="digits",
        task="digits",
        addresses=("/ip4/127.0.0.1/tcp/4011/p2p/12D3KooWabc",),
        device="cpu",
        parameters=50_000,
        samples=1_437,
        first=True,
        steps=500,
        called="digits",
    ),
    Joined(time=2.0, donor="12D3KooWxyz", step=40, seconds=0.2, bytes=200_000),
    StepDone(time=3.0, step=41, epoch=0.5, loss=1.25, learning_rate=0.1, samples_per_s=4_000.0),
    RoundCommitted(
        time=4.0,
        round=3,
        members=("12D3KooWabc", "12D3KooWxyz"),
        seconds=0.05,
        formation_seconds=0.01,
        bytes_sent=100_000,
        disagreement=0.02,
        attempts=2,
        final=True,
    ),
    RoundFailed(time=5.0, round=None, reason="nobody else is ready", alone=True),
    RoundRefused(time=5.5, round=4, times=37.5, partly=True),
    Evaluated(time=6.0, step=50, loss=0.4, accuracy=0.93, samples=360, of="merged"),
    PeerChanged(time=7.0, peer_id="12D3KooWxyz", change="lost", peers=1),
    SwarmSeen(
        time=7.5,
        peers=(
            PeerSeen(
                peer_id="12D3KooWxyz",
                state="training",
                step=60,
                round=4,
                shown=(
                    Shown(
                        loss=0.5,
                        rounds=3,
                        bytes_sent=300_000,
                        bytes_per_s=2e6,
                        met=(Met(round=3, members=("KooWabc", "KooWxyz"), disagreement=0.02),),
                        losses=((50, 0.6), (60, 0.5)),
                    ),
                ),
            ),
        ),
    ),
    NodeChanged(time=8.0, state="down", reason="killed by signal 9", pid=4_242),
    CheckpointSaved(time=9.0, step=50, path="runs/digits/checkpoints/step-00000050"),
    CheckpointFailed(time=10.0, step=60, reason="No space left on device"),
    Notice(time=11.0, level="warning", message="a word\nand another"),
    Finished(time=12.0, step=60, seconds=10.0, rounds=3, bytes_sent=300_000, loss=None, accuracy=0.93, reason="steps"),
]


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.event)
def test_an_event_is_one_line_of_json_and_comes_back_as_it_was(event: Event) -> None:
    line = event_to_json(event)
    assert "\n" not in line
    assert list(json.loads(line))[:2] == ["event", "time"]
    assert json.loads(line)["event"] == event.event
    assert event_from_json(line) == event
    assert event_from_json(line.encode()) == event


def test_each_kind_of_event_is_in_the_list_above() -> None:
    assert {event.event for event in ALL} == set(EVENT_KINDS)


def test_the_emitter_need_not_look_at_the_clock() -> None:
    assert Notice(message="hello").time > 1_700_000_000


def test_numbers_that_are_not_finite_become_null_and_come_back_as_nan() -> None:
    step = StepDone(time=1.0, step=1, epoch=0.0, loss=math.nan, learning_rate=0.1, samples_per_s=math.inf)
    content = json.loads(event_to_json(step))
    assert content["loss"] is None
    assert content["samples_per_s"] is None
    back = event_from_json(event_to_json(step))
    assert isinstance(back, StepDone)
    assert math.isnan(back.loss)
    finished = ALL[-1].model_copy(update={"loss": math.nan})
    back = event_from_json(event_to_json(finished))
    assert isinstance(back, Finished)
    assert back.loss is None


def test_an_unknown_event_of_a_newer_writer_is_passed_over() -> None:
    assert event_from_json('{"event": "eclipse", "time": 1.0}') is None


def test_unknown_fields_of_a_newer_writer_are_passed_over() -> None:
    line = '{"event": "notice", "time": 1.0, "level": "info", "message": "hello", "colour": "green"}'
    assert event_from_json(line) == Notice(time=1.0, message="hello")


def test_a_misspelt_field_is_a_mistake_of_the_emitter() -> None:
    with pytest.raises(ValueError, match="mesage"):
        Notice(mesage="hello")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "Expecting value"),
        ("[1, 2]", "no event"),
        ('{"event": 7}', "no event"),
        ('{"event": "notice", "message": "no time"}', "has no time"),
        ('{"event": "notice", "time": NaN, "message": ""}', "time"),
        ('{"event": "notice", "time": 1.0}', "message"),
        ('{"event": "step", "time": 1.0, "step": -1}', "step"),
        ('{"event": "checkpoint", "time": 1.0, "step": ' + "9" * 300 + ', "path": ""}', "step"),
        ("[" * 50_000, "nested too deeply"),
        ('{"event": "notice", "time": 1.0, "message": "' + "x" * MAX_LINE_CHARS + '"}', "longer than"),
        (b'{"event": "notice", "time": 1.0, "message": "\xff"}', "utf-8"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_a_reason(line: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        event_from_json(line)


@given(st.one_of(st.text(), st.binary(), st.sampled_from([event_to_json(event) for event in ALL])), st.data())
@settings(deadline=None, max_examples=100)
def test_whatever_a_line_holds_it_is_an_event_or_none_or_a_value_error(line: str | bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(line)))
    try:
        event = event_from_json(line[:cut])
    except ValueError:
        return
    assert event is None or event_from_json(event_to_json(event)) == event


@given(st.text())
@settings(deadline=None, max_examples=50)
def test_any_text_can_be_emitted(text: str) -> None:
    event = event_from_json(event_to_json(Notice(message=text + "\udc80")))
    assert isinstance(event, Notice)
    assert event.message == (text + "?")[:MAX_TEXT_CHARS]


def test_text_of_any_length_fits_a_line() -> None:
    notice = Notice(message="\x00" * 1_000_000)
    assert event_from_json(event_to_json(notice)) == notice
    assert len(notice.message) == MAX_TEXT_CHARS
