"""Events that runs ought to exercise are recognised, and those that none has reached are named."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from gossiptrain.net.transport import PeerId
from gossiptrain.simulate.swarms import sometimes
from gossiptrain.simulate.swarms.peers import Part
from gossiptrain.simulate.swarms.plan import draw
from gossiptrain.simulate.swarms.results import FaultRecord, RoundRecord, Sample, SwarmResult, Violation
from gossiptrain.simulate.swarms.seeds import command_for, summary_of
from gossiptrain.simulate.swarms.settings import SwarmSettings, read_faults
from tests.simulate.swarms.test_invariants import part

SETTINGS = SwarmSettings(peers=4, seed=7)


def events_of(each: Part, *, liars: Collection[str] = ()) -> list[str]:
    found: list[str] = []
    sometimes.note_round(found.append, each, liars=liars)
    return found


def test_what_a_round_exercised_is_seen_in_how_it_ended() -> None:
    usual = part("a")
    assert events_of(usual) == []
    assert events_of(usual, liars={"b"}) == [sometimes.WITH_LIAR]
    assert events_of(part("a", committed=False)) == [sometimes.ABANDONED]
    result = usual.averaged.result.model_copy(
        update={"attempts": 2, "members": (PeerId("a"), PeerId("b")), "silent": frozenset({PeerId("b")})}
    )
    fewer = replace(usual, averaged=usual.averaged.model_copy(update={"result": result}))
    assert events_of(fewer) == [sometimes.RETRIED, sometimes.WITHOUT_SOME]


def test_whose_parameters_a_peer_begins_with_is_told_apart() -> None:
    found: list[str] = []
    sometimes.note_state(found.append, 1, None)
    sometimes.note_state(found.append, 1, PeerId("a"))
    sometimes.note_state(found.append, 2, PeerId("a"))
    assert found == [sometimes.FOUNDED, sometimes.STATE_TAKEN, sometimes.STATE_TAKEN, sometimes.RETURNED]


def result_with(event: str, *, committed: bool, violations: tuple[Violation, ...] = ()) -> SwarmResult:
    rounds = [
        RoundRecord(20.0 + index, peer, 7, ("a", "b"), committed, 1, formation, 0.5, "d", "")
        for index, (peer, formation) in enumerate((("a", 0.1), ("b", 0.3)))
    ]
    return SwarmResult(
        settings=SETTINGS,
        plan=draw(SETTINGS),
        violations=violations,
        rounds=tuple(rounds),
        samples=(Sample(1.0, 2, 1, 9.0, is_one=False), Sample(2.0, 2, 2, 0.5, is_one=True)),
        faults=(
            FaultRecord(0, "crash", "crash of a", 16.0, 20.0, happened=True, rounds_cost=2, one_swarm_after_s=1.5),
            FaultRecord(1, "cut", "", 1.0, 2.0, happened=False, rounds_cost=0, one_swarm_after_s=None),
        ),
        reached={each: int(each == event) for each in sometimes.EVENTS},
        virtual_s=100.0,
        sent_bytes=1000,
        turns=10,
        cpu_s=2.0,
    )


def test_several_runs_are_summed_up() -> None:
    violation = Violation("all or nothing", 3.0, "words")
    runs = [
        result_with(sometimes.RETRIED, committed=True),
        result_with(sometimes.ABANDONED, committed=False, violations=(violation,)),
    ]
    summary = summary_of(runs)
    assert (summary.runs, summary.failed, summary.committed, summary.abandoned) == (2, 1, 1, 1)
    assert (summary.formation_median_s, summary.disagreement, summary.sent_bytes) == (0.2, 0.5, 2000)
    assert summary.faster == 50.0
    assert (summary.faults["crash"].happened, summary.faults["crash"].rounds_cost) == (2, 4)
    assert summary.faults["crash"].one_swarm_after_s == 1.5
    assert (summary.faults["cut"].happened, summary.faults["cut"].one_swarm_after_s) == (0, None)
    assert summary.reached[sometimes.RETRIED] == 1
    assert sometimes.RETRIED not in summary.never_reached
    assert sometimes.DONOR_DIED in summary.never_reached


def test_the_command_that_repeats_a_run_says_what_differs_from_the_usual() -> None:
    assert command_for(SETTINGS) == "gossip simulate swarm --peers 4 --seed 7"
    special = SwarmSettings(
        peers=5, seed=2, faults=read_faults("crash:3,cut"), only_faults=(3, 7), seconds=60.0, preset="local"
    )
    assert command_for(special) == (
        "gossip simulate swarm --peers 5 --seed 2 --seconds 60 --faults crash:3,cut --preset local --only-faults 3,7"
    )
    assert command_for(SwarmSettings(only_faults=())).endswith("--only-faults none")
