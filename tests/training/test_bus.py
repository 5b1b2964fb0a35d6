"""The bus of events survives its readers and keeps their order."""

from __future__ import annotations

import errno
import threading

import pytest

from gossiptrain.events import CheckpointSaved, Event, Joined, Notice, Started
from gossiptrain.training.bus import EventBus

ALL: list[Event] = [
    Started(peer_id="me", run="digits", task="digits", addresses=(), device="cpu", parameters=1, samples=1, first=True),
    Joined(donor="other", step=40, seconds=0.2, bytes=200_000),
]


def test_every_subscriber_gets_every_event_in_order_until_it_unsubscribes() -> None:
    bus, first, second = EventBus(), list[Event](), list[Event]()
    bus.subscribe(first.append)
    unsubscribe = bus.subscribe(second.append)
    bus.emit(ALL[0])
    unsubscribe()
    unsubscribe()
    bus.emit(ALL[1])
    assert first == ALL[:2]
    assert second == ALL[:1]


def test_a_warning_that_nobody_has_subscribed_to_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()
    bus.emit(Notice(level="warning", message="nobody asked"))
    bus.emit(Notice(message="nothing to worry about"))
    unsubscribe = bus.subscribe(lambda event: None)
    bus.emit(Notice(level="warning", message="somebody reads this"))
    unsubscribe()
    assert caplog.messages == ["nobody asked"]


def test_what_a_subscriber_emits_follows_the_event_it_was_told_of() -> None:
    bus, seen = EventBus(), list[str]()

    def answer(event: Event) -> None:
        if event.event == "started":
            bus.emit(Notice(message="welcome"))

    bus.subscribe(answer)
    bus.subscribe(lambda event: seen.append(event.event))
    bus.emit(ALL[0])
    assert seen == ["started", "notice"]


def test_a_subscriber_on_a_closed_pipe_is_dropped_and_the_others_hear_of_it_once() -> None:
    bus, seen, calls = EventBus(), list[Event](), list[Event]()

    def closed_pipe(event: Event) -> None:
        calls.append(event)
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    bus.subscribe(closed_pipe, name="the terminal")
    bus.subscribe(seen.append)
    bus.emit(ALL[0])
    bus.emit(ALL[1])
    assert calls == ALL[:1]
    assert [event.event for event in seen] == ["started", "notice", "joined"]
    assert isinstance(seen[1], Notice)
    assert seen[1].message == "the terminal is closed: Broken pipe"


def test_a_mistake_of_a_subscriber_reaches_the_emitter_and_the_bus_goes_on() -> None:
    bus, seen = EventBus(), list[Event]()
    bus.subscribe(seen.append)

    def mistaken(event: Event) -> None:
        raise ZeroDivisionError

    unsubscribe = bus.subscribe(mistaken)
    with pytest.raises(ZeroDivisionError):
        bus.emit(ALL[0])
    unsubscribe()
    bus.emit(ALL[1])
    assert seen == ALL[:2]


def test_a_subscriber_may_end_another_in_the_middle_of_an_event() -> None:
    bus, seen = EventBus(), list[Event]()
    bus.subscribe(lambda event: unsubscribe())
    unsubscribe = bus.subscribe(seen.append)
    bus.emit(ALL[0])
    assert seen == []


def test_events_of_several_threads_are_handed_on_one_at_a_time_and_none_is_lost() -> None:
    bus, seen, inside = EventBus(), list[int](), list[int]()
    overlaps = 0

    def slow(event: Event) -> None:
        nonlocal overlaps
        overlaps += len(inside)
        inside.append(1)
        assert isinstance(event, CheckpointSaved)
        seen.append(event.step)
        inside.pop()

    bus.subscribe(slow)

    def emit_fifty(base: int) -> None:
        for offset in range(50):
            bus.emit(CheckpointSaved(step=base + offset, path=""))

    threads = [threading.Thread(target=emit_fifty, args=(base,)) for base in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == 0
    assert sorted(seen) == [base + i for base in (0, 1000, 2000) for i in range(50)]
    assert [step for step in seen if step < 1000] == list(range(50))
