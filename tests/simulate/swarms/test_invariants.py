"""Each invariant is found broken where it is, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from gossiptrain.core.averaging import Vector
from gossiptrain.net.transport import PeerId
from gossiptrain.simulate.swarms import invariants
from gossiptrain.simulate.swarms.invariants import Invariants, connected, largest_difference
from gossiptrain.simulate.swarms.peers import Call, Part
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.swarm.round import RoundResult

MEMBERS = ("a", "b", "c")


def vector(value: float) -> Vector:
    return np.full(4, value, np.float32)


def part(
    peer: str,
    *,
    brought: float = 1.0,
    average: float = 2.0,
    digest: str = "d1",
    committed: bool = True,
    samples: int = 1,
) -> Part:
    result = RoundResult(
        committed=committed,
        members=tuple(map(PeerId, MEMBERS)),
        attempts=1,
        seconds=0.5,
        bytes_sent=100,
        digest=digest if committed else "",
        reason="" if committed else "the round is over",
    )
    averaged = AveragedRound(number=7, formation_seconds=0.1, samples=(1, 1, 1), result=result)
    return Part(
        peer=peer,
        began_s=10.0,
        ended_s=11.0,
        averaged=averaged,
        samples=samples,
        snapshot=vector(brought),
        average=vector(average),
    )


def broken_by(*parts: Part, touched: str = "", liars: frozenset[str] = frozenset()) -> list[str]:
    found = Invariants(lambda peer, began_s, ended_s: peer in touched)
    for each in parts:
        found.note(each)
    found.settle(now_s=100.0, longest_round_s=60.0, liars=liars)
    return [violation.invariant for violation in found.violations]


WHOLE = (part("a", brought=1.0), part("b", brought=2.0), part("c", brought=3.0))


def test_a_round_that_all_commit_with_their_mean_breaks_nothing() -> None:
    assert broken_by(*WHOLE) == []
    weighted = (part("a", brought=0.0, samples=2), part("b", brought=3.0), part("c", brought=5.0))
    assert broken_by(*weighted) == []


def test_two_averages_of_one_round_are_found() -> None:
    assert broken_by(*WHOLE[:2], part("c", brought=3.0, digest="d2")) == [invariants.ONE_DIGEST]
    assert invariants.ONE_DIGEST in broken_by(*WHOLE[:2], part("c", brought=3.0, average=2.5))


def test_a_member_that_did_not_commit_is_found_unless_a_fault_touched_it() -> None:
    rest = part("c", brought=3.0, committed=False)
    assert broken_by(*WHOLE[:2], rest) == [invariants.ALL_OR_NOTHING]
    assert broken_by(rest, *WHOLE[:2]) == [invariants.ALL_OR_NOTHING]
    assert broken_by(*WHOLE[:2], rest, touched="c") == []
    assert broken_by(*WHOLE[:2], rest, touched="ab") == []
    assert broken_by(*WHOLE[:2], rest, touched="a") == [invariants.ALL_OR_NOTHING]
    assert broken_by(*WHOLE[:2]) == []  # it died


def test_of_a_round_that_a_liar_was_in_only_one_digest_is_asked() -> None:
    rest = part("c", brought=3.0, committed=False)
    assert broken_by(*WHOLE[:2], rest, liars=frozenset("b")) == []
    assert broken_by(*WHOLE[:2], part("c", digest="d2"), liars=frozenset("b")) == [invariants.ONE_DIGEST]


def test_an_average_that_is_not_the_weighted_mean_is_found() -> None:
    assert broken_by(*WHOLE[:2], part("c", brought=3.01)) == [invariants.MEAN_CONSERVED]
    assert broken_by(*WHOLE[:2], part("c", brought=3.0, samples=2)) == [invariants.MEAN_CONSERVED]


def test_a_call_that_takes_too_long_is_told_with_its_times() -> None:
    found = Invariants(lambda peer, began_s, ended_s: False)
    found.note_late("a", Call("a round", 5.0, took_s=131.5, longest_s=130.0), at_s=136.5)
    (violation,) = found.violations
    assert violation.invariant == invariants.NOBODY_WAITS_TOO_LONG
    assert "a round of a took 131.50 s, and may take 130 s" in str(violation)


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        ({}, True),
        ({"a": ""}, True),
        ({"a": "b", "b": "", "c": "b"}, True),
        ({"a": "b", "b": "a", "c": "d", "d": "c"}, False),
        ({"a": "x", "b": "x"}, False),
    ],
)
def test_peers_are_connected_by_who_knows_whom(views: dict[str, str], expected: bool) -> None:
    assert connected(views) is expected


def test_the_largest_difference_is_to_the_first() -> None:
    assert largest_difference([vector(1.0), vector(1.0), vector(3.0)]) == 2.0
    assert largest_difference([vector(1.0)]) == 0.0
