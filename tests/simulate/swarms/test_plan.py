"""The faults of a run follow from its seed, and are all over in time."""

from __future__ import annotations

import pytest

from gossiptrain.errors import UsageError
from gossiptrain.simulate.swarms.plan import Cut, Flood, Plan, Skew, chosen, draw, peer_names
from gossiptrain.simulate.swarms.settings import FAULT_NAMES, SwarmSettings, read_faults

MANY = SwarmSettings(faults_per_minute=600, seconds=60)


def test_the_same_seed_draws_the_same_plan_and_another_one_another() -> None:
    assert draw(MANY) == draw(MANY)
    assert draw(MANY) != draw(MANY.model_copy(update={"seed": 1}))


def test_every_kind_is_drawn_and_over_before_the_healing() -> None:
    plan = draw(MANY)
    assert {fault.name for fault in plan} == set(FAULT_NAMES)
    assert [fault.at_s for fault in plan] == sorted(fault.at_s for fault in plan)
    assert all(0 <= fault.at_s <= fault.until_s <= MANY.faults_end_s + 1e-6 for fault in plan)
    assert all(fault.at_s >= 15 for fault in plan if not isinstance(fault, Skew))


def test_faults_name_peers_that_there_are() -> None:
    names = set(peer_names(MANY.peers))
    for fault in draw(MANY):
        if isinstance(fault, Cut):
            assert set(fault.side) < names
        elif isinstance(fault, Flood):
            assert not set(fault.joiners) & names
        elif (peer := getattr(fault, "peer", None)) is not None:
            assert peer in names


def test_weights_decide_how_often_a_kind_is_drawn() -> None:
    plan = draw(MANY.model_copy(update={"faults": read_faults("crash:9,freeze")}))
    crashes = sum(fault.name == "crash" for fault in plan)
    assert {fault.name for fault in plan} == {"crash", "freeze"}
    assert 0.8 < crashes / len(plan) < 0.97


def test_without_faults_the_plan_is_empty() -> None:
    assert draw(SwarmSettings(faults=read_faults("none"))) == ()


def test_a_part_of_a_plan_keeps_numbers_and_changes_nothing_else() -> None:
    plan: Plan = draw(MANY)
    assert chosen(plan, (3, 7, 10**6)) == {3: plan[3], 7: plan[7]}
    assert list(chosen(plan, None)) == list(range(len(plan)))
    assert chosen(plan, ()) == {}


@pytest.mark.parametrize("text", ["crush", "crash:much", "crash,,freeze"])
def test_faults_that_are_none_are_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(UsageError, match=r"There is no fault|a number"):
        read_faults(text)
