"""The node's words, as people and programs get them."""

from __future__ import annotations

from typing import Any

from gossiptrain import events
from gossiptrain.net.transport import PeerId
from gossiptrain.node import control
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.round import RoundResult
from gossiptrain.training import news


def ended_round(**of_the_result: Any) -> control.RoundEnded:
    members = (PeerId("a"), PeerId("b"))
    given = {"members": members, "attempts": 1, "seconds": 0.25, "bytes_sent": 8, **of_the_result}
    averaged = AveragedRound(number=3, formation_seconds=0.1, samples=(1, 2), result=RoundResult(**given))
    return control.RoundEnded(averaged=averaged)


def test_a_round_that_took_place_is_told_with_its_members() -> None:
    told = news.of_round(ended_round(committed=True), final=True, alone=False)
    assert isinstance(told, events.RoundCommitted)
    assert (told.round, told.members, told.bytes_sent, told.final) == (3, ("a", "b"), 8, True)


def test_a_round_that_failed_is_told_with_its_number_and_one_without_a_group_has_none() -> None:
    failed = news.of_round(ended_round(committed=False, reason="late"), final=False, alone=True)
    assert failed == events.RoundFailed(round=3, reason="late", alone=True, time=failed.time)
    nobody = news.of_round(control.RoundEnded(averaged=None), final=False, alone=False)
    assert nobody == events.RoundFailed(round=None, reason="no group was ready in time", time=nobody.time)


def test_that_a_peer_wants_to_merge_concerns_nobody_but_the_trainer() -> None:
    finishing, left = (
        control.PeerChanged(peer="a", change=change, addresses=(), peers=2) for change in ("finishing", "left")
    )
    assert news.of_peer(finishing) is None
    told = news.of_peer(left)
    assert told is not None
    assert (told.peer_id, told.change, told.peers) == ("a", "left", 2)


def test_whose_parameters_were_taken_over_is_told() -> None:
    told = news.of_joining(ReceivedState(donor=PeerId("a"), step=5, seconds=0.5, size_bytes=16))
    assert (told.donor, told.step, told.seconds, told.bytes) == ("a", 5, 0.5, 16)
