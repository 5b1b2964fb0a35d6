"""Who is only heard of: how many of them there are, and when each is tried."""

from __future__ import annotations

import itertools
import random
from typing import Any

from gossiptrain.net.transport import PeerId
from gossiptrain.simulate.swarms.liar import ordinary_heartbeat
from gossiptrain.swarm.candidates import (
    FEW_UNTRIED,
    LEAST_NEW,
    LONGEST_PAUSE,
    MAX_CANDIDATES,
    MAX_UNTRIED,
    Candidates,
)
from gossiptrain.swarm.messages import Heartbeat

PERIOD_S, LIFETIME_S = 1.0, 5.0


def candidates() -> Candidates:
    return Candidates(random.Random(1), period_s=PERIOD_S, lifetime_s=LIFETIME_S)


def heartbeat(name: str, counter: int = 1, **changes: Any) -> Heartbeat:
    usual = ordinary_heartbeat(name, run_key="", counter=counter, addresses=[f"/memory/{name}/p2p/{name}"])
    return Heartbeat.model_validate(usual.model_dump() | changes)


def test_who_is_heard_of_is_tried_at_once_and_then_less_and_less_often() -> None:
    heard = candidates()
    tried = []
    for second in range(100):
        heard.hear(heartbeat("a", second + 1), now_s=second)
        for peer in heard.due(now_s=second):
            tried.append(second)
            heard.failed(peer, now_s=second)
    assert tried[:4] == [0, 2, 6, 14]
    assert max(later - earlier for earlier, later in itertools.pairwise(tried)) == LONGEST_PAUSE


def test_who_moves_or_starts_anew_is_tried_again_soon() -> None:
    for change in ({"addresses": ("/memory/b/p2p/a",)}, {"incarnation": 2}):
        heard = candidates()
        heard.hear(heartbeat("a"), now_s=0.0)
        for _ in range(5):
            heard.failed(PeerId("a"), now_s=0.0)
        heard.hear(heartbeat("a", 2, **change), now_s=1.0)
        assert list(heard.due(now_s=1.0 + PERIOD_S)) == ["a"]


def test_what_is_older_than_what_was_heard_changes_nothing() -> None:
    heard = candidates()
    heard.hear(heartbeat("a", 2), now_s=0.0)
    heard.hear(heartbeat("a", 1, addresses=()), now_s=0.0)
    assert heard.addresses(PeerId("a")) == ("/memory/a/p2p/a",)


def test_who_is_not_heard_of_any_more_is_forgotten() -> None:
    heard = candidates()
    heard.hear(heartbeat("a"), now_s=0.0)
    assert list(heard.due(now_s=LIFETIME_S + 0.1)) == []
    assert len(heard) == 0


def test_a_flood_has_bounds_and_drops_those_first_that_were_tried_in_vain() -> None:
    heard = candidates()
    for number in range(MAX_CANDIDATES):
        heard.hear(heartbeat(f"sybil{number}"), now_s=0.0)
        heard.failed(PeerId(f"sybil{number}"), now_s=0.0)
    for number in range(MAX_CANDIDATES // 2):
        heard.hear(heartbeat(f"new{number}"), now_s=0.0)
    assert len(heard) == MAX_CANDIDATES
    assert all(heard.addresses(PeerId(f"new{number}")) for number in range(MAX_CANDIDATES // 2))
    assert len(list(heard.due(now_s=0.0))) == MAX_CANDIDATES // 2


def test_who_has_many_to_try_wants_to_hear_of_few_more_and_of_many_again_once_they_were_tried() -> None:
    heard = candidates()
    assert heard.most_new == MAX_UNTRIED
    for number in range(MAX_UNTRIED - 10):
        heard.hear(heartbeat(f"new{number}"), now_s=0.0)
    assert heard.most_new == 10
    for number in range(100):
        heard.hear(heartbeat(f"more{number}"), now_s=0.0)
    assert heard.most_new == LEAST_NEW
    for peer in list(heard.due(now_s=0.0)):
        heard.failed(peer, now_s=0.0)
    assert heard.most_new == MAX_UNTRIED


def test_those_suffice_that_are_more_than_a_few_and_were_not_tried_in_vain() -> None:
    heard = candidates()
    for number in range(FEW_UNTRIED):
        heard.hear(heartbeat(f"new{number}"), now_s=0.0)
    assert not heard.suffice
    heard.hear(heartbeat("one-more"), now_s=0.0)
    assert heard.suffice
    heard.failed(PeerId("new0"), now_s=0.0)
    assert not heard.suffice
    heard.hear(heartbeat("yet-another"), now_s=0.0)
    heard.forget(PeerId("new1"))
    assert not heard.suffice
