"""The views of the living members are the same, whether they grew or were made anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.simulate.swarms.liar import ordinary_heartbeat
from gossiptrain.swarm.living_members import LivingMembers
from gossiptrain.swarm.messages import Heartbeat, SignedHeartbeat
from gossiptrain.swarm.versions import key_of

PEERS = [PeerId(f"a-peer-with-a-long-name-{number}") for number in range(4)]
RECORD = SignedHeartbeat(body="said", signature="ab")


def said(peer: PeerId, counter: int, *, joined: bool, round_number: int) -> Heartbeat:
    usual = ordinary_heartbeat(peer, run_key="", counter=counter, addresses=[f"/memory/{peer}/p2p/{peer}"])
    return Heartbeat.model_validate(usual.model_dump() | {"joined": joined, "round": round_number})


@given(st.lists(st.tuples(st.sampled_from(PEERS), st.booleans(), st.integers(0, 9)), max_size=20))
def test_what_is_renewed_is_as_if_all_had_been_given_at_once(news: list[tuple[PeerId, bool, int]]) -> None:
    grown, last = LivingMembers([]), dict[PeerId, Heartbeat]()
    for counter, (peer, joined, round_number) in enumerate(news):
        last[peer] = said(peer, counter + 1, joined=joined, round_number=round_number)
        grown.renew(peer, last[peer], RECORD)
    made = LivingMembers((peer, heartbeat, RECORD) for peer, heartbeat in last.items())
    assert list(grown.heartbeats.items()) == list(made.heartbeats.items()) == list(last.items())
    assert list(grown.rounds.items()) == [(peer, heartbeat.round) for peer, heartbeat in last.items()]
    assert list(grown.versions) == list(grown.records) == [key_of(peer) for peer in last]
    assert grown.trainers.keys() == made.trainers.keys() == {peer for peer in last if last[peer].joined}
