"""What a swarm has to show, case by case."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gossiptrain.cli.verdict import PeerOutcome, SwarmOutcome, lines_of, problems_of, report_of, success_of


def peer(label: str = "a", **more: Any) -> PeerOutcome:
    values: dict[str, Any] = {"share": "1/4", "steps": 5000, "together": 0.965, "alone": 0.93, "bytes_sent": 2_700_000}
    return PeerOutcome(label=label, **{**values, **more})


def outcome(*peers: PeerOutcome, **more: Any) -> SwarmOutcome:
    values: dict[str, Any] = {"killed": 0, "rounds": 30, "seconds": 12.04, "merged": 0.966, "disagreement": 1e-8}
    return SwarmOutcome(peers=peers, **{**values, **more})


def good(**more: Any) -> SwarmOutcome:
    return outcome(*(peer(label) for label in "abcd"), **more)


def test_a_swarm_that_did_what_it_should_has_no_problems() -> None:
    assert problems_of(good()) == []


def test_every_peer_has_to_reach_the_accuracy() -> None:
    assert problems_of(outcome(peer("a"), peer("b", together=0.949, alone=0.9))) == [
        "peer b reached 94.9 %, less than 95.0 %"
    ]


@pytest.mark.parametrize(("together", "clear"), [(0.96, True), (0.959, False), (0.95, False)])
def test_every_peer_has_to_be_clearly_better_than_alone(together: float, clear: bool) -> None:
    problems = problems_of(outcome(peer("a"), peer("b", together=together, alone=0.95)))
    assert (problems == []) is clear
    assert all("peer b is not clearly better together" in problem for problem in problems)


def test_the_margin_itself_is_enough_whatever_rounding_does() -> None:
    # 0.96 - 0.95 is a little less than 0.01 in binary.
    assert problems_of(outcome(peer(together=0.96, alone=0.95), peer("b"))) == []


@pytest.mark.parametrize(("disagreement", "fine"), [(0.0, True), (0.0099, True), (0.01, False), (float("nan"), False)])
def test_the_final_models_have_to_agree(disagreement: float, fine: bool) -> None:
    assert (problems_of(good(disagreement=disagreement)) == []) is fine


def test_at_least_one_round_has_to_be_committed() -> None:
    assert problems_of(good(rounds=0)) == ["no round was committed"]


def test_a_peer_that_failed_is_named_with_its_reason_and_nothing_else_is_said_of_it() -> None:
    failed = peer("b", together=None, alone=None, failure="ended with exit code 13: nobody answers")
    assert problems_of(outcome(peer("a"), failed)) == ["peer b ended with exit code 13: nobody answers"]


def test_a_peer_that_could_not_be_measured_is_a_problem() -> None:
    assert problems_of(outcome(peer("a"), peer("b", alone=None))) == ["peer b could not be measured"]


def test_killed_peers_are_not_held_against_the_rest() -> None:
    weaker = [peer(label, together=0.945, alone=0.93) for label in "ab"]
    assert problems_of(outcome(*weaker, killed=2)) == []


def test_the_rest_still_has_to_be_better_than_alone() -> None:
    assert problems_of(outcome(peer("a"), peer("b", together=0.93), killed=1)) != []


def test_a_peer_that_was_left_alone_has_nobody_to_be_better_with() -> None:
    assert problems_of(outcome(peer(together=0.93, alone=0.93), killed=3, disagreement=0.0)) == []


def test_where_no_peer_is_left_there_is_nothing_to_be_proud_of() -> None:
    assert "no peer is left" in problems_of(outcome(merged=None, disagreement=None))


def test_stopping_early_excuses_nothing_but_is_named() -> None:
    assert problems_of(good(asked_to_stop=True)) == []
    problems = problems_of(outcome(peer(together=0.8), seconds=2.0, asked_to_stop=True))
    assert problems[-1] == "it was stopped after 2.0 s, which may have been too early"


def test_the_last_word_claims_only_what_was_shown() -> None:
    assert success_of(good()).endswith("every peer does better together than alone.")
    assert "whoever was killed" in success_of(outcome(peer("a"), peer("b"), killed=1))
    assert "better" not in success_of(outcome(peer(), killed=1))


def test_the_words_hold_every_figure() -> None:
    text = "\n".join(lines_of(outcome(peer("a", share="1/2"), peer("b", share="2/2", together=0.951), killed=1)))
    for figure in (
        "1/2",
        "5,000",
        "93.0 %",
        "96.5 %",
        "+3.5",
        "95.1 %",
        "+2.1",
        "2.7 MB",
        "96.6 %",
        "30",
        "1 peer kil",
    ):
        assert figure in text


def test_the_rows_of_the_table_are_aligned() -> None:
    rows = lines_of(good())[1:6]
    assert len({len(row) for row in rows}) == 1


def test_what_could_not_be_measured_is_shown_as_unknown() -> None:
    lines = lines_of(outcome(peer("a", together=None, alone=None), merged=None, disagreement=None))
    assert lines[2].split() == ["a", "1/4", "5,000", "–", "–", "–", "2.7", "MB"]


def test_the_report_has_the_documented_keys_and_is_json() -> None:
    report = report_of(outcome(peer("a"), peer("b", together=None, alone=None), disagreement=float("nan")))
    assert json.loads(json.dumps(report, allow_nan=False)) == {
        "peers": 2,
        "rounds_committed": 30,
        "seconds": 12.04,
        "accuracy_alone": [0.93, None],
        "accuracy_together": [0.965, None],
        "accuracy_merged": 0.966,
        "disagreement": None,
        "bytes_sent": [2_700_000, 2_700_000],
    }
