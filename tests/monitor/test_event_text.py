"""What a person is told at once: plain sentences, each once."""

from __future__ import annotations

import pytest

from gossiptrain.events import (
    CheckpointFailed,
    CheckpointSaved,
    Event,
    Joined,
    NodeChanged,
    Notice,
    RoundFailed,
)
from gossiptrain.monitor.event_text import EventText
from tests.monitor.stream import HOSTILE, OTHER, OWN, THIRD, alone, evaluated, finished, peer, round_of, started, step


def told(*events: Event) -> list[str]:
    event_text = EventText()
    messages = [event_text.tell(event) for event in events]
    return [message.text for message in messages if message is not None]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (started(), "first peer of run digits: task digits, 52,650 parameters on cpu, 359 samples"),
        (started(first=False), "joining run digits: task digits, 52,650 parameters on cpu, 359 samples"),
        (
            Joined(donor=OTHER, step=1240, seconds=0.21, bytes=210_600),
            "took the parameters of step 1,240 from peer …other1 (211 kB in 210 ms)",
        ),
        (peer(OTHER, "joined", 3), "peer …other1 joined, 3 peers now"),
        (peer(OTHER, "left", 2), "peer …other1 left, 2 peers now"),
        (peer(OTHER, "lost", 1), "peer …other1 does not answer any more, this peer is alone now"),
        (
            NodeChanged(state="down", reason="killed by signal 9"),
            "the network process is down (killed by signal 9); training goes on alone while it is restarted",
        ),
        (NodeChanged(state="restarted"), "the network process is up again"),
        (
            CheckpointFailed(step=500, reason="No space left on device."),
            "checkpoint of step 500 not saved: No space left on device; training goes on",
        ),
        (
            CheckpointFailed(
                step=500, reason="The checkpoint of step 500 could not be saved: No space left on device."
            ),
            "checkpoint of step 500 not saved: No space left on device; training goes on",
        ),
        (evaluated(0.972, of="merged"), "merged model: test accuracy 97.2 %"),
        (round_of(9, OWN, OTHER, final=True), "final merge of 2 peers in 83 ms"),
        (Notice(level="info", message="hello"), "hello"),
        (
            finished(loss=0.02, accuracy=0.968),
            "finished, all steps are done: 100 steps in 41.2 s, 3 rounds, 1.3 MB sent, loss 0.02000, "
            "test accuracy 96.8 %",
        ),
        (finished(reason="interrupted"), "finished, stopped on request: 100 steps in 41.2 s, 3 rounds, 1.3 MB sent"),
    ],
)
def test_what_matters_is_said_in_a_sentence(event: Event, text: str) -> None:
    assert told(event) == [text]


@pytest.mark.parametrize(
    "event",
    [step(1), round_of(1, OWN, OTHER), evaluated(0.9), CheckpointSaved(step=1, path="x"), NodeChanged(state="ready")],
)
def test_what_happens_all_the_time_is_not_told(event: Event) -> None:
    assert told(event) == []


def test_a_lone_peer_says_once_that_it_waits_for_company() -> None:
    assert told(alone(), alone(), alone()) == [
        "waiting for company: no other peer is there yet, training goes on alone"
    ]


def test_it_says_so_again_after_company_has_come_and_gone() -> None:
    texts = told(alone(), peer(OTHER, "joined", 2), round_of(1, OWN, OTHER), peer(OTHER, "left", 1), alone(), alone())
    assert [text.split(":")[0] for text in texts] == [
        "waiting for company",
        "peer …other1 joined, 2 peers now",
        "peer …other1 left, this peer is alone now",
        "waiting for company",
    ]


def test_failed_rounds_in_a_row_are_told_once_until_one_succeeds() -> None:
    failed = RoundFailed(round=3, reason="a member fell silent.", alone=False)
    sentence = "a round did not come about: a member fell silent; training goes on"
    assert told(failed, failed, round_of(4, OWN, OTHER), failed, failed) == [sentence, sentence]


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (CheckpointFailed(step=1, reason=""), "warning"),
        (Notice(level="warning", message=""), "warning"),
        (peer(OTHER, "lost", 1), "warning"),
        (finished(reason="non-finite loss"), "warning"),
        (finished(), "good"),
        (alone(), "info"),
    ],
)
def test_warnings_are_told_apart(event: Event, level: str) -> None:
    message = EventText().tell(event)
    assert message is not None
    assert message.level == level


@pytest.mark.parametrize(
    "event",
    [
        started(run=HOSTILE * 100, task=HOSTILE * 100, device=HOSTILE * 100),
        Joined(donor=HOSTILE * 100, step=1, seconds=0.1, bytes=1),
        peer(HOSTILE * 100, "joined", 2),
        NodeChanged(state="down", reason=HOSTILE * 100),
        CheckpointFailed(step=1, reason=HOSTILE * 100),
        RoundFailed(reason=HOSTILE * 100),
        Notice(message=HOSTILE * 100),
    ],
)
def test_foreign_text_cannot_control_the_terminal_nor_flood_it(event: Event) -> None:
    (text,) = told(event)
    assert not {"\x1b", "\x07", "\r", "\n", "\u202e"} & set(text)
    assert len(text) < 600


def test_that_bytes_take_the_slower_way_is_said_once() -> None:
    text = EventText()
    assert text.tell(round_of(1, OWN, OTHER, paths={OTHER: "direct"})) is None
    told = text.tell(round_of(2, OWN, OTHER, THIRD, paths={OTHER: "direct", THIRD: "libp2p"}))
    assert told is not None
    assert told.text.startswith("parameters travel to …other2 through libp2p, which is slower")
    assert "--direct-port" in told.text
    assert text.tell(round_of(3, OWN, THIRD, paths={THIRD: "libp2p"})) is None
