"""Where a peer stands, from its events alone."""

from __future__ import annotations

import pytest

from gossiptrain.events import Event, Joined, NodeChanged
from gossiptrain.monitor.progress import MAX_KNOWN_PEERS, PeerProgress
from tests.monitor.stream import OTHER, OWN, THIRD, evaluated, finished, peer, round_of, short_run, started, step


def after(*events: Event) -> PeerProgress:
    progress = PeerProgress()
    for event in events:
        progress.handle(event)
    return progress


def test_before_the_first_event_nothing_is_known() -> None:
    progress = PeerProgress()
    assert progress.state == "joining"
    assert progress.step is progress.loss is progress.accuracy is progress.disagreement is None
    assert progress.share_done is progress.seconds_left is None


def test_the_figures_are_those_of_the_last_events() -> None:
    progress = after(*short_run())
    assert progress.state == "training"
    assert (progress.step, progress.loss, progress.accuracy) == (50, 0.25, 0.912)
    assert progress.merged is not None
    assert progress.merged.accuracy == 0.972
    assert (progress.rounds, progress.bytes_sent, progress.peers) == (3, 3 * 421_000, 2)
    assert progress.disagreement == 0.0042
    assert progress.losses.values == [2.0, 1.0, 0.25]
    assert progress.disagreements.values == [0.2, 0.02, 0.0042]


def test_other_peers_are_known_by_what_they_did_together_with_this_one() -> None:
    known = after(*short_run()).known
    assert known.keys() == {OTHER, THIRD}
    assert (known[OTHER].state, known[OTHER].rounds, known[OTHER].last_met) == ("here", 3, 1003.0)
    assert (known[THIRD].state, known[THIRD].rounds, known[THIRD].last_met) == ("lost", 2, 1002.0)


def test_a_peer_that_comes_back_is_here_again() -> None:
    progress = after(peer(OTHER, "joined", 2), peer(OTHER, "left", 1), peer(OTHER, "joined", 2))
    assert progress.known[OTHER].state == "here"


def test_the_end_has_the_last_word() -> None:
    progress = after(*short_run(), finished(rounds=7, bytes_sent=99))
    assert (progress.state, progress.step, progress.rounds, progress.bytes_sent) == ("done", 100, 7, 99)


def test_the_time_left_follows_the_pace_of_the_last_steps() -> None:
    progress = after(started(steps=100), step(10), step(60))
    assert progress.share_done == pytest.approx(0.6)
    assert progress.seconds_left == pytest.approx(4.0)


def test_the_time_left_is_not_guessed() -> None:
    assert after(started(), step(10), step(60)).seconds_left is None
    assert after(started(steps=100), step(10)).seconds_left is None
    assert after(started(steps=100), step(10, time=1.0), step(20, time=1.0)).seconds_left is None


def test_steps_taken_over_from_a_donor_do_not_count_as_pace() -> None:
    joined = Joined(time=1000.0, donor=OTHER, step=1000, seconds=0.1, bytes=100)
    progress = after(started(steps=2000), step(1, time=999.0), joined, step(1010, time=1001.0))
    assert progress.seconds_left == pytest.approx(99.0)


def test_the_state_of_the_node_is_followed() -> None:
    assert after(NodeChanged(state="down", reason="killed")).node == "down"
    assert after(NodeChanged(state="down", reason="killed"), NodeChanged(state="restarted")).node == "restarted"


def test_what_is_remembered_is_bounded_and_the_living_are_kept_longest() -> None:
    progress = after(started(), peer("living", "joined", 2))
    for index in range(2 * MAX_KNOWN_PEERS):
        progress.handle(peer(f"peer {index}", "lost", 2))
        progress.handle(round_of(index, OWN, OTHER))
        progress.handle(evaluated(0.5))
    assert len(progress.known) == MAX_KNOWN_PEERS
    assert progress.known["living"].state == "here"
    assert len(progress.recent_rounds) == 8


def test_the_time_left_is_that_until_whatever_ends_first() -> None:
    progress = PeerProgress()
    for event in (started(steps=1000, max_seconds=30.0), step(10), step(110)):
        progress.handle(event)
    assert progress.seconds_left == 20.0, "ten steps a second, and ten of thirty seconds are over"
    assert progress.share_done == pytest.approx(1 / 3)
    progress.handle(started(steps=120, max_seconds=3000.0))
    assert progress.seconds_left == 1.0


def test_what_was_sent_is_told_by_the_second_as_well() -> None:
    progress = PeerProgress()
    for event in (started(), round_of(10, OWN, OTHER)):
        progress.handle(event)
    assert progress.bytes_per_s == 42_100.0
