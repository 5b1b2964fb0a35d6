"""The node's words, as people and programs get them."""

from __future__ import annotations

from gossiptrain import events
from gossiptrain.node import control
from gossiptrain.training import news


def test_a_round_that_took_place_is_told_with_its_members() -> None:
    ended = control.RoundEnded(committed=True, found_group=True, round=3, members=("a", "b"), bytes_sent=8)
    told = news.of_round(ended, final=True, alone=False)
    assert isinstance(told, events.RoundCommitted)
    assert (told.round, told.members, told.bytes_sent, told.final) == (3, ("a", "b"), 8, True)


def test_a_round_without_a_group_has_no_number() -> None:
    for found_group, number in ((True, 3), (False, None)):
        ended = control.RoundEnded(committed=False, found_group=found_group, round=3, reason="late")
        told = news.of_round(ended, final=False, alone=True)
        assert told == events.RoundFailed(round=number, reason="late", alone=True, time=told.time)


def test_that_a_peer_wants_to_merge_concerns_nobody_but_the_trainer() -> None:
    finishing, left = (
        control.PeerChanged(peer="a", change=change, addresses=(), peers=2) for change in ("finishing", "left")
    )
    assert news.of_peer(finishing) is None
    told = news.of_peer(left)
    assert told is not None
    assert (told.peer_id, told.change, told.peers) == ("a", "left", 2)


def test_whose_parameters_were_taken_over_is_told() -> None:
    joined = control.Joined(donor="a", step=5, samples=40, seconds=0.5, size_bytes=16, peers=2)
    told = news.of_joining("a", joined)
    assert (told.donor, told.step, told.seconds, told.bytes) == ("a", 5, 0.5, 16)
