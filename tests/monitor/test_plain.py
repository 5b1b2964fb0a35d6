"""Plain lines for pipes: few, complete, and at once where it matters."""

from __future__ import annotations

import io

import pytest

from gossiptrain.events import Event, NodeChanged
from gossiptrain.monitor.plain import PlainView
from gossiptrain.monitor.view import JoinText
from tests.monitor.stream import (
    HOSTILE,
    OTHER,
    OWN,
    alone,
    evaluated,
    finished,
    peer,
    round_of,
    short_run,
    started,
    step,
)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(*events: Event, join_text: JoinText = "", seconds_per_event: float = 10.0) -> list[str]:
    stream, clock = io.StringIO(), HandClock()
    view = PlainView(stream, clock=clock, join_text=join_text)
    for event in events:
        view.handle(event)
        clock.now += seconds_per_event
    view.close()
    return stream.getvalue().splitlines()


def test_a_progress_line_says_where_the_peer_stands() -> None:
    lines = shown(*short_run(), step(60, loss=0.2))
    assert lines[-1] == (
        "step 60  epoch 5.00  loss 0.2000  5,123 samples/s  accuracy 91.2 %  2 peers  "
        "3 rounds (last: 2 peers, 83 ms)  1.3 MB sent  disagreement 0.42 %"
    )


def test_what_is_not_known_yet_is_left_out() -> None:
    assert shown(step(1)) == ["step 1  epoch 0.08  loss 0.5000  5,123 samples/s  1 peer"]


def test_there_is_at_most_one_progress_line_per_interval() -> None:
    lines = shown(*(step(number) for number in range(100)), seconds_per_event=0.125)
    assert [line.split("  ")[0] for line in lines] == ["step 0", "step 24", "step 48", "step 72", "step 96"]


def test_rounds_and_evaluations_alone_write_nothing() -> None:
    assert shown(round_of(1, OWN, OTHER), evaluated(0.9)) == []


def test_what_matters_is_written_at_once() -> None:
    lines = shown(
        step(1),
        peer(OTHER, "joined", 2),
        NodeChanged(state="down", reason="killed"),
        peer(OTHER, "lost", 1),
        finished(),
        seconds_per_event=0.0,
    )
    assert lines[1:] == [
        "peer …other1 joined, 2 peers now",
        "warning: the network process is down (killed); training goes on alone while it is restarted",
        "warning: peer …other1 does not answer any more, this peer is alone now",
        "finished, all steps are done: 100 steps in 41.2 s, 3 rounds, 1.3 MB sent",
    ]


def test_a_lone_peer_does_not_repeat_itself() -> None:
    assert shown(alone(), alone(), alone()) == [
        "waiting for company: no other peer is there yet, training goes on alone"
    ]


def test_the_join_commands_follow_the_start() -> None:
    assert shown(started(), join_text="Join:\n  gossip train")[1:] == ["Join:", "  gossip train"]


def test_the_join_commands_can_be_made_once_the_addresses_are_known() -> None:
    assert shown(started(), join_text=lambda event: f"at {event.addresses[0]}")[1:] == [f"at {started().addresses[0]}"]


def test_foreign_text_stays_on_its_line() -> None:
    lines = shown(started(run=HOSTILE), peer(HOSTILE, "joined", 2), join_text=f"a\n{HOSTILE}")
    assert len(lines) == 4
    assert "\x1b" not in "".join(lines)


class AsciiStream(io.TextIOWrapper):
    """A stream of a system without Unicode."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="ascii")


def test_a_stream_without_unicode_gets_question_marks_instead_of_an_error() -> None:
    stream = AsciiStream()
    PlainView(stream).handle(peer(OTHER, "joined", 2))
    assert stream.bytes.getvalue() == b"peer ?other1 joined, 2 peers now\n"


def test_a_stream_that_is_closed_is_an_os_error_that_the_bus_understands() -> None:
    stream = io.StringIO()
    view = PlainView(stream)
    stream.close()
    with pytest.raises(BrokenPipeError):
        view.handle(peer(OTHER, "joined", 2))
    view.close()


def test_a_new_address_is_told_with_the_commands_that_are_true_now() -> None:
    moved = NodeChanged(time=1001.0, state="ready", addresses=(f"/ip4/127.0.0.1/tcp/9999/p2p/{OWN}",))
    lines = shown(started(), moved, join_text=lambda event: f"join {event.addresses[0]}")
    assert f"join /ip4/127.0.0.1/tcp/4011/p2p/{OWN}" in lines
    assert lines[-2].startswith("this peer is reached at another address now: /ip4/127.0.0.1/tcp/9999")
    assert lines[-1] == f"join /ip4/127.0.0.1/tcp/9999/p2p/{OWN}"


def test_a_node_that_comes_back_at_its_address_repeats_no_commands() -> None:
    lines = shown(started(), NodeChanged(time=1001.0, state="restarted", pid=1), join_text="join")
    assert lines.count("join") == 1
