"""A swarm folded from events: who is there, what they do, what became of them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from benchmarks.page.story import BEGIN, Story, ended, hostile

from gossiptrain.events import Event, Joined, Met, PeerSeen, Shown, SwarmSeen
from gossiptrain.monitor.page.picture import MISSED_S, SwarmPicture
from gossiptrain.monitor.page.rows import MAX_ROWS, RECENT_ROUNDS
from gossiptrain.swarm.status import shown_key
from tests.monitor.stream import (
    HOSTILE,
    OTHER,
    OWN,
    THIRD,
    evaluated,
    finished,
    peer,
    round_of,
    short_run,
    started,
    step,
)


def after(*events: Event) -> dict[str, Any]:
    picture = SwarmPicture("peer", clock=lambda: 2000.0)
    for event in events:
        picture.handle(event)
    return shown(picture)


def shown(picture: SwarmPicture) -> dict[str, Any]:
    """As a browser reads it."""
    told: dict[str, Any] = json.loads(json.dumps(picture.snapshot(), allow_nan=False))
    return told


def seen(peer_id: str, *, state: Any = "training", time: float = 1010.0, **told: Any) -> SwarmSeen:
    values = {"loss": 0.5, "rounds": 2, "bytes_sent": 30, "bytes_per_s": 5.0, **told}
    return SwarmSeen(
        time=time, peers=(PeerSeen(peer_id=peer_id, state=state, step=7, round=3, shown=(Shown(**values),)),)
    )


def states(told: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: each["state"] for each in told["peers"]}


def test_before_the_first_event_there_is_nothing() -> None:
    told = after()
    assert (told["peers"], told["rounds"], told["events"], told["run"]) == ([], [], [], "")


def test_the_own_peer_stands_first_with_its_figures() -> None:
    told = after(*short_run())
    own = told["peers"][0]
    assert (own["own"], own["name"], own["id"], own["state"]) == (True, "this peer", OWN, "training")
    assert (own["step"], own["loss"], own["accuracy"], own["rounds"]) == (50, 0.25, 0.972, 3)
    assert own["bytes_sent"] == 3 * 421_000
    assert own["bytes_per_s"] == pytest.approx(421_000 / 0.083)
    assert (told["run"], told["disagreement"]) == ("digits", 0.0042)


def test_a_peer_that_is_lost_is_so_at_once_and_stands_before_those_that_train() -> None:
    told = after(started(), seen(THIRD), seen(OTHER), peer(OTHER, "lost", 1), seen(THIRD, time=1011.0))
    assert [each["state"] for each in told["peers"]] == ["joining", "lost", "training"]
    assert told["peers"][1]["since"] == 1005.0
    assert told["events"][-1]["level"] == "warning"
    assert "does not answer any more" in told["events"][-1]["text"]


def test_one_that_said_goodbye_has_ended_and_one_that_comes_back_trains_again() -> None:
    course: list[Event] = [started(), peer(OTHER, "joined", 2), peer(OTHER, "left", 1)]
    assert states(after(*course))[OTHER] == "ended"
    assert states(after(*course, peer(OTHER, "lost", 1)))[OTHER] == "ended"
    assert states(after(*course, peer(OTHER, "joined", 2), seen(OTHER)))[OTHER] == "training"


def test_what_others_have_shown_is_in_their_rows_and_their_history_comes_before_what_is_heard_later() -> None:
    history = ((1, 3.0), (4, 2.0))
    told = after(
        started(), seen(OTHER, losses=history, loss=1.5, disagreements=((1, 0.5),)), seen(OTHER, loss=1.0, time=1012.0)
    )
    row = told["peers"][1]
    assert (row["step"], row["loss"], row["rounds"], row["bytes_sent"], row["bytes_per_s"]) == (7, 1.0, 2, 30, 5.0)
    assert row["losses"] == [[1, 3.0], [4, 2.0], [7, 1.0]]
    assert told["disagreements"] == [[1, 0.5]]


def test_the_own_peer_of_a_loop_that_tells_no_steps_is_known_by_what_its_node_says() -> None:
    course: list[Event] = [started(), round_of(3, OWN, OTHER)]
    own = after(*course, seen(OWN, loss=0.75, rounds=0, bytes_sent=0))["peers"][0]
    assert (own["state"], own["step"], own["loss"], own["losses"]) == ("training", 7, 0.75, [[7, 0.75]])
    assert (own["rounds"], own["bytes_sent"]) == (1, 421_000), "of these its events tell"
    told = after(*course, step(50, loss=0.25), seen(OWN, loss=0.75))["peers"][0]
    assert (told["step"], told["loss"]) == (50, 0.25)
    assert after(*course, finished(), seen(OWN))["peers"][0]["state"] == "ended"


def test_a_round_that_several_tell_of_counts_once_and_names_its_members() -> None:
    met = Met(round=3, members=(shown_key(OTHER), shown_key(OWN)), disagreement=0.0042)
    told = after(
        started(), step(1), seen(OTHER), round_of(3, OWN, OTHER), seen(OTHER, met=(met,)), seen(THIRD, met=(met,))
    )
    number = {each["id"]: each["number"] for each in told["peers"]}
    assert [(each["round"], each["members"]) for each in told["rounds"]] == [(3, sorted([number[OWN], number[OTHER]]))]
    assert told["disagreements"] == [[3, 0.0042]]


def test_groups_of_one_round_count_with_their_mean_and_old_rounds_go() -> None:
    events: list[Event] = [started(), seen(OTHER)]
    for number in range(100):
        events += [round_of(number, OWN, OTHER, disagreement=0.1), round_of(number, OWN, THIRD, disagreement=0.3)]
    told = after(*events)
    assert {each["round"] for each in told["rounds"]} == set(range(100 - RECENT_ROUNDS, 100))
    assert len(told["rounds"]) == 2 * RECENT_ROUNDS
    assert told["disagreement"] == pytest.approx(0.2)
    assert all(value == pytest.approx(0.2) for _, value in told["disagreements"])


def test_who_is_not_seen_for_long_without_a_word_is_lost() -> None:
    course: list[Event] = [started(), seen(OTHER, time=1000.0)]
    assert states(after(*course, seen(THIRD, time=1000.0 + MISSED_S)))[OTHER] == "training"
    assert states(after(*course, seen(THIRD, time=1000.1 + MISSED_S)))[OTHER] == "lost"


def test_several_peers_of_a_demo_tell_of_themselves_and_a_killed_one_is_red_at_once() -> None:
    picture = SwarmPicture("demo")
    for label, peer_id in (("a", OWN), ("b", OTHER)):
        picture.add(label)
        picture.handle(started(peer_id=peer_id), label=label)
        picture.handle(step(3), label=label)
    picture.handle(round_of(1, OWN, OTHER), label="a")
    picture.handle(round_of(1, OWN, OTHER), label="b")
    picture.handle(evaluated(0.5), label="b")
    picture.killed("b")
    picture.handle(peer(OTHER, "lost", 1), label="a")
    picture.handle(finished(), label="a")
    told = shown(picture)
    assert [(each["label"], each["name"], each["state"]) for each in told["peers"]] == [
        ("b", "b", "killed"),
        ("a", "a", "ended"),
    ]
    assert len(told["rounds"]) == 1
    assert not any("does not answer" in each["text"] for each in told["events"])


def test_the_end_has_the_last_word() -> None:
    own = after(*short_run(), ended())["peers"][0]
    assert (own["state"], own["step"], own["rounds"]) == ("ended", 9, 9)


def test_what_peers_say_is_harmless_whatever_it_is() -> None:
    told = after(*hostile(), peer(HOSTILE, "joined", 3), Joined(donor=HOSTILE, step=1, seconds=math.inf, bytes=1))
    text = json.dumps(told, ensure_ascii=False)
    assert not any(character in text for character in "\x1b\x07\u202e\r")
    assert all(len(each["name"]) < 200 for each in told["peers"])
    assert told["network"] == "down"


def test_a_flood_of_peers_and_rounds_stays_within_bounds() -> None:
    picture = SwarmPicture("peer")
    picture.handle(started())
    for number in range(MAX_ROWS + 50):
        name = f"12D3KooW{number:08d}"
        met = tuple(Met(round=number + at, members=(shown_key(name), "unknown1"), disagreement=0.1) for at in range(4))
        picture.handle(seen(name, time=1000.0 + number, met=met))
    told = shown(picture)
    assert len(told["peers"]) <= MAX_ROWS
    assert told["peers"][0]["own"]
    assert len({each["number"] for each in told["peers"]}) == len(told["peers"])


def test_a_swarm_of_64_is_told_in_little_more_than_a_kilobyte_for_each() -> None:
    picture = SwarmPicture("peer", clock=lambda: BEGIN)
    for event in Story(64, seconds=120).events():
        picture.handle(event)
    told = picture.snapshot()
    assert [each["state"] for each in told["peers"]].count("lost") == 2
    assert len(json.dumps(told)) < 64 * 1500
