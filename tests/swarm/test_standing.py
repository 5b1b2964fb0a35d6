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
from gossiptrain.swarm.messages import MAX_MEETINGS, MAX_MEMBERS, MAX_POINTS, Standing, StandingRequest
from gossiptrain.swarm.round import RoundResult
from gossiptrain.swarm.standing import STANDING, STANDING_LIMIT_BYTES, OwnStanding, shown_key
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


def standing_of() -> OwnStanding:
    """One that nobody on a network asks."""
    return OwnStanding(Admission(VirtualNetwork().transport("a"), fingerprint(), timing=TIMING))


@on_both_transports
def test_a_member_hears_loss_rounds_and_histories_of_another_one(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> Standing:
        async with swarm_of(make, 2) as swarm:
            a, b = swarm.peers["a"], swarm.peers["b"]
            b.swarm.standing.note_loss(5, 2.0)
            b.swarm.standing.note_round(7, a_round())
            stream = await a.swarm.admission.stream(b.id, STANDING)
            await send_message(stream, StandingRequest())
            answer = await receive_message(stream, Standing, limit_bytes=STANDING_LIMIT_BYTES)
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
                await call(stranger, peer, protocol=STANDING, request=StandingRequest(), reply_kind=Standing)

    run_on("virtual", scenario)


def test_who_has_asked_before_gets_only_what_is_new_and_who_asks_a_peer_that_started_anew_gets_all() -> None:
    standing = standing_of()
    for number in range(10):
        standing.note_round(number, a_round())
    first = standing.answer(StandingRequest())
    assert [meeting.round for meeting in first.meetings] == [6, 7, 8, 9]
    assert len(first.disagreements) == 10
    assert standing.answer(StandingRequest(rounds=10)).meetings == ()
    later = standing.answer(StandingRequest(rounds=8))
    assert [meeting.round for meeting in later.meetings] == [8, 9]
    assert later.disagreements == ()
    assert standing.answer(StandingRequest(rounds=99)).disagreements == first.disagreements


def test_rounds_that_did_not_commit_and_losses_that_are_no_numbers_are_not_shown() -> None:
    standing = standing_of()
    standing.note_round(1, RoundResult.abandoned((), "nobody came"))
    standing.note_loss(1, math.nan)
    answer = standing.answer(StandingRequest())
    assert (answer.loss, answer.rounds, answer.meetings, answer.losses) == (None, 0, (), ())


@given(
    st.lists(st.tuples(st.floats(), st.floats(min_value=0, max_value=1e300)), max_size=80),
    st.integers(1, MAX_MEMBERS),
    st.integers(0, 2**60),
)
def test_whatever_happens_the_answer_can_be_told_and_is_small(
    course: list[tuple[float, float]], members: int, number: int
) -> None:
    standing = standing_of()
    for at, (loss, disagreement) in enumerate(course):
        standing.note_loss(number + at, loss)
        standing.note_round(number + at, a_round(members, disagreement=disagreement, seconds=0.0))
    answer = standing.answer(StandingRequest())
    encoded = encode_message(answer)
    assert decode_message(encoded, Standing) == answer
    assert len(encoded) < STANDING_LIMIT_BYTES
    assert len(answer.losses) <= MAX_POINTS
    assert len(answer.meetings) <= MAX_MEETINGS
