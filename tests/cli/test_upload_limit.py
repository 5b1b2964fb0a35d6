"""`--upload-limit` with real peers: what they send stays under it, and their rounds commit all the same."""

from __future__ import annotations

from itertools import accumulate

from gossiptrain import events
from gossiptrain.net.upload_limit import BURST_S, PIECE_BYTES
from tests.processes import Command, Family, Peer

MBIT = 2
BYTES_PER_S = MBIT * 125_000
ROUNDS = 12
WORDS_BYTES = 2_000
"""What else is said in a round beside values; it counts, and is not held up."""


def rounds_of(peer: Peer, *, at_least: int) -> list[events.RoundCommitted]:
    peer.wait_for(events.RoundCommitted, lambda _: len(peer.find(events.RoundCommitted)) >= at_least)
    return peer.find(events.RoundCommitted)


def test_two_limited_peers_send_no_faster_than_they_may_and_all_of_their_rounds_commit(family: Family) -> None:
    flags = ("--upload-limit", str(MBIT), "--every-steps", "1")
    first = family.train(*flags)
    second = family.train(*flags, "--initial-peer", first.address())
    for peer in (first, second):
        rounds = rounds_of(peer, at_least=ROUNDS)
        sent = [0, *accumulate(met.bytes_sent for met in rounds[1:])]
        for met, sent_bytes in zip(rounds, sent, strict=True):
            stretch_s = met.time - rounds[0].time
            assert sent_bytes <= BYTES_PER_S * (stretch_s + BURST_S) + PIECE_BYTES + ROUNDS * WORDS_BYTES
        # It is the limit that holds them up: without it a round of this model takes a few hundredths of a second.
        whole_s = rounds[-1].time - rounds[0].time
        assert sent[-1] >= BYTES_PER_S * whole_s / 4


def test_a_joiner_is_given_the_state_by_a_limited_peer(family: Family) -> None:
    first = family.train("--upload-limit", str(MBIT))
    second = family.train("--initial-peer", first.address())
    joined = second.wait_for(events.Joined)
    assert joined.bytes == 2 * 4 * 17_226, "parameters and momentum"
    assert joined.seconds >= (joined.bytes - PIECE_BYTES) / BYTES_PER_S - BURST_S


def test_a_limit_with_which_nobody_could_take_part_is_refused(gossip: Command) -> None:
    for limit in ("1", "nan", "-3", "0"):
        ended = gossip("train", "digits", "--upload-limit", limit)
        assert ended.code == 2
        assert "--upload-limit takes" in ended.err
