"""The guard of a trainer: which averages it takes, how much of them, and what it remembers."""

from __future__ import annotations

import numpy as np
import pytest

from gossiptrain.config import GuardName
from gossiptrain.core.averaging import Vector
from gossiptrain.core.movement import parts_of
from gossiptrain.swarm.coding import Buffers
from gossiptrain.training.guarding import REUNION_ROUNDS, Judgement, TrainerGuard

ELEMENTS = 2000


class Guarded:
    """A model of one tensor, and its guard."""

    def __init__(self, kind: GuardName) -> None:
        self._rng = np.random.default_rng(0)
        self.values = self.noise(1.0)
        self.memory = Buffers(np.zeros(ELEMENTS, np.float32), np.zeros(ELEMENTS, np.float32))
        self.guard = TrainerGuard(
            kind, [parts_of([ELEMENTS])], self.memory, values_at=lambda positions, fragment: self.values[positions]
        )

    def noise(self, size: float) -> Vector:
        return self._rng.normal(size=ELEMENTS, scale=size).astype(np.float32)

    def round(self, off: Vector, *, learnt: float = 0.1, pace: float = 1.0) -> Judgement:
        """Learns, and is offered an average so far from its snapshot."""
        self.values = self.values + self.noise(learnt)
        self.memory.snapshot[:] = self.values
        self.guard.see(0)
        self.memory.average[:] = self.values + off
        judged = self.guard.judge(0, pace=pace)
        if judged.taken != "nothing":
            self.guard.note(0, judged.average, alpha=1.0)
            self.values = (self.memory.average if judged.average is None else judged.average).copy()
        return judged

    def usual_rounds(self, count: int = 5) -> None:
        assert {self.round(self.noise(0.08)).taken for _ in range(count)} == {"all"}


def test_averages_that_are_as_far_as_what_was_learnt_are_taken_from_the_first_one_on() -> None:
    Guarded("result").usual_rounds(30)


@pytest.mark.parametrize("rounds_before", [0, 5])
def test_an_average_that_is_far_away_is_not_taken_and_said_to_be(rounds_before: int) -> None:
    guarded = Guarded("result")
    for _ in range(rounds_before):
        guarded.usual_rounds(1)
    judged = guarded.round(guarded.noise(3.0))
    assert judged.taken == "nothing"
    assert judged.times == pytest.approx(30, rel=0.3)


def test_it_goes_on_alone_and_takes_the_next_good_one() -> None:
    guarded = Guarded("result")
    guarded.usual_rounds()
    assert [guarded.round(guarded.noise(3.0)).taken for _ in range(50)] == ["nothing"] * 50
    guarded.usual_rounds()


def test_the_negative_of_all_values_is_seen_though_it_is_no_further_away_than_what_others_have_learnt() -> None:
    guarded = Guarded("result")
    for _ in range(REUNION_ROUNDS + 1):
        assert guarded.round(guarded.noise(0.3), learnt=0.4).taken == "all"
    judged = guarded.round(-0.4 * guarded.values, learnt=0.4)
    assert judged.taken == "nothing"
    assert judged.times < 2, "by its distance alone it would have been taken"
    assert judged.kept == pytest.approx(0.6, abs=0.1)


def test_halves_that_meet_again_are_far_from_each_other_and_come_together() -> None:
    guarded = Guarded("result")
    guarded.usual_rounds(REUNION_ROUNDS)
    apart = guarded.noise(0.9)
    assert guarded.round(apart).taken == "nothing"
    guarded.guard.expect_others()
    assert guarded.round(apart).taken == "all"
    assert guarded.round(guarded.noise(3.0)).taken == "nothing", "further than all that this peer holds"
    guarded.usual_rounds(REUNION_ROUNDS - 2)
    assert guarded.round(apart).taken == "nothing", "by now they have met"


def test_a_slow_peer_takes_what_a_fast_group_has_learnt_and_believes_strangers_less() -> None:
    trusting, wary = Guarded("result"), Guarded("clip")
    for guarded in (trusting, wary):
        guarded.usual_rounds(REUNION_ROUNDS)
    assert trusting.round(trusting.noise(0.1 * 50), pace=50.0).taken == "all"
    assert wary.round(wary.noise(0.1 * 50), pace=50.0).taken != "all"


def test_what_is_not_guarded_is_taken_however_far_it_is() -> None:
    assert Guarded("off").round(np.full(ELEMENTS, 1e6, np.float32)).taken == "all"


def test_where_some_parts_were_lied_about_the_others_are_taken() -> None:
    guarded = Guarded("clip")
    guarded.usual_rounds()
    off = guarded.noise(0.08)
    off[: ELEMENTS // 4] = 1e4
    before = guarded.values
    judged = guarded.round(off)
    assert judged.taken == "part"
    learnt = guarded.memory.snapshot
    kept = guarded.values[: ELEMENTS // 4] == learnt[: ELEMENTS // 4]
    assert kept.all()
    assert (guarded.values[ELEMENTS // 2 :] == guarded.memory.average[ELEMENTS // 2 :]).all()
    assert np.abs(guarded.values - before).max() < 1


def test_radii_are_told_only_where_contributions_are_clipped() -> None:
    clip, result = Guarded("clip"), Guarded("result")
    for guarded in (clip, result):
        guarded.usual_rounds()
        guarded.memory.snapshot[:] = guarded.values + guarded.noise(0.1)
        guarded.guard.see(0)
    assert result.guard.radii(0) == ()
    assert len(clip.guard.radii(0)) == len(parts_of([ELEMENTS]))
    honest_distance = 0.08 * 256**0.5 * 1.5
    assert honest_distance < clip.guard.radii(0)[0] < 3 * honest_distance


def test_a_slow_peer_is_not_left_behind_by_a_group_that_has_seen_more() -> None:
    guarded = Guarded("result")
    guarded.usual_rounds(REUNION_ROUNDS)
    assert guarded.round(guarded.noise(0.35)).taken == "nothing"
    assert guarded.round(guarded.noise(0.35), pace=4.0).taken == "all"


def test_whoever_takes_over_another_peers_parameters_begins_there() -> None:
    guarded = Guarded("result")
    guarded.usual_rounds()
    guarded.values = guarded.noise(50.0)
    guarded.guard.begin()
    guarded.usual_rounds()
