"""What a peer shows of itself, and to whom."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.framing import call, decode_message, encode_message, receive_message, send_message
from gossiptrain.net.transport import PeerId
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.messages import MAX_MEMBERS
from gossiptrain.swarm.round import RoundResult
from gossiptrain.swarm.status import STATUS, STATUS_LIMIT_BYTES, OwnStatus, shown_key
from gossiptrain.swarm.status_messages import MAX_MEETINGS, MAX_POINTS, MemberStatus, StatusRequest
from tests.swarm.swarms import TIMING, fingerprint, swarm_of
from tests.transports import Kind, MakeTransport, on_both_transports, run_on


def a_round(members: int = 3, *, disagreement: float | None = 0.25, seconds: float = 2.0) -> RoundResult:
    return RoundResult(
        committed=True,
        members=tuple(PeerId(f"12D3KooWpeer{number:08d}") for number in range(members)),
        attempts=1,
        seconds=seconds,
        bytes_sent=1000,
        disagreement=disagreement,
    )


def status_of() -> OwnStatus:
    """One that nobody on a network asks."""
    return OwnStatus(Admission(VirtualNetwork().transport("a"), fingerprint(), timing=TIMING))


@on_both_transports
def test_a_member_hears_loss_rounds_and_histories_of_another_one(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> MemberStatus:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            b.swarm.status.note_loss(5, 2.0)
            b.swarm.status.note_round(7, a_round())
            stream = await a.swarm.admission.stream(b.id, STATUS)
            await send_message(stream, StatusRequest())
            answer = await receive_message(stream, MemberStatus, limit_bytes=STATUS_LIMIT_BYTES)
            await stream.close()
            return answer

    answer = run_on(kind, scenario)
    assert (answer.loss, answer.rounds, answer.bytes_sent, answer.bytes_per_s) == (2.0, 1, 1000, 500.0)
    assert (answer.losses, answer.disagreements) == (((5, 2.0),), ((7, 0.25),))
    assert answer.meetings[0].members == tuple(shown_key(f"12D3KooWpeer{number:08d}") for number in range(3))


def test_a_stranger_is_shown_nothing() -> None:
    async def scenario(make: MakeTransport) -> None:
        async with swarm_of(make, 1) as swarm:
            stranger = await make("stranger")
            peer = await stranger.connect(swarm.peers["a"].swarm.transport.addresses[0])
            with pytest.raises(ConnectionError):
                await call(stranger, peer, protocol=STATUS, request=StatusRequest(), reply_kind=MemberStatus)

    run_on("virtual", scenario)


def test_who_has_asked_before_gets_only_what_is_new_and_who_asks_a_peer_that_started_anew_gets_all() -> None:
    status = status_of()
    for number in range(10):
        status.note_round(number, a_round())
    first = status.answer(StatusRequest())
    assert [meeting.round for meeting in first.meetings] == [6, 7, 8, 9]
    assert len(first.disagreements) == 10
    assert status.answer(StatusRequest(rounds=10)).meetings == ()
    later = status.answer(StatusRequest(rounds=8))
    assert [meeting.round for meeting in later.meetings] == [8, 9]
    assert later.disagreements == ()
    assert status.answer(StatusRequest(rounds=99)).disagreements == first.disagreements


def test_rounds_that_did_not_commit_and_losses_that_are_no_numbers_are_not_shown() -> None:
    status = status_of()
    status.note_round(1, RoundResult.abandoned((), "nobody came"))
    status.note_loss(1, math.nan)
    answer = status.answer(StatusRequest())
    assert (answer.loss, answer.rounds, answer.meetings, answer.losses) == (None, 0, (), ())


@given(
    st.lists(st.tuples(st.floats(), st.floats(min_value=0, max_value=1e300)), max_size=80),
    st.integers(1, MAX_MEMBERS),
    st.integers(0, 2**60),
)
def test_whatever_happens_the_answer_can_be_told_and_is_small(
    course: list[tuple[float, float]], members: int, number: int
) -> None:
    status = status_of()
    for at, (loss, disagreement) in enumerate(course):
        status.note_loss(number + at, loss)
        status.note_round(number + at, a_round(members, disagreement=disagreement, seconds=0.0))
    answer = status.answer(StatusRequest())
    encoded = encode_message(answer)
    assert decode_message(encoded, MemberStatus) == answer
    assert len(encoded) < STATUS_LIMIT_BYTES
    assert len(answer.losses) <= MAX_POINTS
    assert len(answer.meetings) <= MAX_MEETINGS
