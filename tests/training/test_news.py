"""The node's words, as people and programs get them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gossiptrain import events
from gossiptrain.net.transport import PeerId
from gossiptrain.node import control
from gossiptrain.swarm.download import ReceivedState
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.round import RoundResult
from gossiptrain.training import news
from gossiptrain.training.bus import EventBus


def ended_round(**of_the_result: Any) -> control.RoundEnded:
    members = (PeerId("a"), PeerId("b"))
    given = {"members": members, "attempts": 1, "seconds": 0.25, "bytes_sent": 8, **of_the_result}
    averaged = AveragedRound(number=3, formation_seconds=0.1, samples=(1, 2), result=RoundResult(**given))
    return control.RoundEnded(averaged=averaged)


def told_by(tell: Callable[[EventBus], None]) -> list[events.Event]:
    bus, told = EventBus(), list[events.Event]()
    bus.subscribe(told.append)
    tell(bus)
    return told


def test_a_round_that_took_place_is_told_with_its_members() -> None:
    (told,) = told_by(lambda bus: news.tell_round(bus, ended_round(committed=True), final=True, alone=False))
    assert isinstance(told, events.RoundCommitted)
    assert (told.round, told.members, told.bytes_sent, told.final) == (3, ("a", "b"), 8, True)


def test_a_round_that_failed_is_told_with_its_number_and_one_without_a_group_has_none() -> None:
    late = ended_round(committed=False, reason="late")
    (failed,) = told_by(lambda bus: news.tell_round(bus, late, final=False, alone=True))
    assert failed == events.RoundFailed(round=3, reason="late", alone=True, time=failed.time)
    (nobody,) = told_by(lambda bus: news.tell_round(bus, control.RoundEnded(averaged=None), final=False, alone=False))
    assert nobody == events.RoundFailed(round=None, reason="no group was ready in time", time=nobody.time)


def test_that_a_peer_is_ready_or_wants_to_merge_concerns_nobody_but_the_trainer() -> None:
    ready, finishing, left = (
        control.PeerChanged(peer="a", change=change, addresses=(), peers=2, trainers=1)
        for change in ("ready", "finishing", "left")
    )
    assert told_by(lambda bus: news.tell_peer(bus, ready)) == []
    assert told_by(lambda bus: news.tell_peer(bus, finishing)) == []
    (told,) = told_by(lambda bus: news.tell_peer(bus, left))
    assert isinstance(told, events.PeerChanged)
    assert (told.peer_id, told.change, told.peers) == ("a", "left", 2)


def test_whose_parameters_were_taken_over_is_told() -> None:
    received = ReceivedState(donor=PeerId("a"), step=5, seconds=0.5, size_bytes=16)
    (told,) = told_by(lambda bus: news.tell_joining(bus, received, moments_bytes=8))
    assert isinstance(told, events.Joined)
    assert (told.donor, told.step, told.seconds, told.bytes, told.moments_bytes) == ("a", 5, 0.5, 16, 8)
