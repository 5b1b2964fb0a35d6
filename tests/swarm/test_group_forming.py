"""What the groups of a round are told."""

from __future__ import annotations

import random
from typing import Any

from gossiptrain.config import GossipSettings
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.group_forming import Absent, GroupForming
from gossiptrain.swarm.messages import Assignment, NoGroup, Ready
from gossiptrain.swarm.promises import Promises
from gossiptrain.swarm.ranks import Ranks
from gossiptrain.swarm.speeds import FULL_SPEED
from tests.swarm.swarms import StoppedClock

NOBODY = Absent((), ())
ME = PeerId("me")


def forming(**settings: Any) -> tuple[GroupForming, Promises]:
    promises = Promises(StoppedClock(), held_up_for_s=60.0)
    ranks = Ranks("key", 0, promises)
    return GroupForming(ME, "key", GossipSettings(**settings), ranks, rng=random.Random(1)), promises


def readies(names: str, **fields: Any) -> dict[PeerId, Ready]:
    return {PeerId(name): Ready(round=3, samples=1, urgent=False, **fields) for name in names}


def group_of(answers: dict[PeerId, Assignment | NoGroup], name: str) -> Assignment:
    answer = answers[PeerId(name)]
    assert isinstance(answer, Assignment)
    return answer


def test_all_members_of_a_group_are_told_the_same_and_groups_have_names_of_their_own() -> None:
    answers = forming(gossip_group_size=2)[0].answers(3, readies("abcd"), NOBODY)
    groups = {answer.round_id: answer for answer in answers.values() if isinstance(answer, Assignment)}
    assert len(groups) == 2
    for name in "abcd":
        assert name in group_of(answers, name).members
        assert group_of(answers, name).round == 3


def test_what_each_member_brought_stands_at_its_place() -> None:
    brought = readies("ab") | {PeerId("c"): Ready(round=3, samples=7, urgent=False)}
    group = group_of(forming()[0].answers(3, brought, NOBODY), "a")
    assert dict(zip(group.members, group.samples, strict=True)) == {"a": 1, "b": 1, "c": 7}
    assert group.speeds == (FULL_SPEED,) * 3


def test_values_are_coded_as_all_would_like_it_or_plainly() -> None:
    assert group_of(forming()[0].answers(3, readies("ab", codec="fp16"), NOBODY), "a").codec == "fp16"
    mixed = readies("a", codec="fp16") | readies("b", codec="bf16")
    assert group_of(forming()[0].answers(3, mixed, NOBODY), "a").codec == "fp32"


def test_a_round_is_final_where_all_have_ended_and_then_all_meet_whatever_groups_may_have() -> None:
    ended = readies("abcdef", purpose="end")
    answers = forming(gossip_group_size=2)[0].answers(3, ended, NOBODY)
    assert set(group_of(answers, "a").members) == set("abcdef")
    assert group_of(answers, "a").final
    some = readies("abcde", purpose="end") | readies("f")
    assert not group_of(forming()[0].answers(3, some, NOBODY), "a").final


def test_there_is_a_follow_up_only_where_all_stay() -> None:
    assert group_of(forming()[0].answers(3, readies("ab", follow_up=True), NOBODY), "a").follow_up
    some = readies("a", follow_up=True) | readies("b")
    assert not group_of(forming()[0].answers(3, some, NOBODY), "a").follow_up


def test_who_finds_no_place_is_told_whether_others_did() -> None:
    answers = forming(gossip_group_size=2)[0].answers(3, readies("abc"), NOBODY)
    assert [answer for answer in answers.values() if isinstance(answer, NoGroup)] == [NoGroup(left_out=True)]
    assert forming()[0].answers(3, readies("a"), NOBODY) == {"a": NoGroup(left_out=False)}


def test_who_has_held_a_round_up_comes_last_in_its_group() -> None:
    former, promises = forming()
    leader = group_of(former.answers(3, readies("abc"), NOBODY), "a").members[0]
    promises.held_up_by([leader])
    assert group_of(former.answers(3, readies("abc"), NOBODY), "a").members[-1] == leader


def test_who_was_waited_for_in_vain_is_named() -> None:
    absent = Absent([PeerId("x"), PeerId("y")], {PeerId("y")})
    group = group_of(forming()[0].answers(3, readies("ab"), absent), "a")
    assert group.missed == ("x", "y")
    assert group.silent == ("y",)
