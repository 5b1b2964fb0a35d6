"""What a peer brings to a round, and how far it takes what comes of it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from torch import nn

from gossiptrain.config import GossipSettings
from gossiptrain.core.averaging import Vector
from gossiptrain.core.fragments import Fragments
from gossiptrain.swarm.coding import Buffers
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.model.local_work import USUAL, LocalWork
from gossiptrain.training.model.own_steps import Alignment
from gossiptrain.training.model.replica import Replica
from gossiptrain.training.model.strategies import Strategy
from gossiptrain.training.model.strategy_choice import strategy_for
from gossiptrain.training.rounds import LocalProgress, Rounds

STEP_S = 0.01


class Recorded(Replica):
    """Notes what it is told."""

    def __init__(self, strategy: Strategy, fragments: Fragments | None = None) -> None:
        binding = ModelBinding(nn.Linear(2, 1))
        memory = Buffers(np.zeros(binding.elements, np.float32), np.zeros(binding.elements, np.float32))
        super().__init__(binding, strategy, memory, fragments=fragments)
        self.works: list[LocalWork] = []
        self.alphas: list[float] = []
        self.taken: list[LocalWork] = []
        self.carried: list[int] = []
        self.learnt = 0.0

    def alignment(self, *, fragment: int = 0) -> Alignment:
        return Alignment(product=0.0, learnt_squared=self.learnt**2, momentum_squared=0.0)

    def contribute(self, work: LocalWork, *, fragment: int = 0) -> None:
        self.works.append(work)
        self.carried.append(fragment)

    def take(self, *, alpha: float, fragment: int = 0, average: Vector | None = None, work: LocalWork = USUAL) -> None:
        self.alphas.append(alpha)
        self.taken.append(work)


class Course:
    """Rounds with the steps between them made by hand."""

    def __init__(self, settings: GossipSettings, fragments: Fragments | None = None) -> None:
        strategy = strategy_for(settings)
        self.progress = LocalProgress()
        self.replica = Recorded(strategy, fragments)
        self.rounds = self.begin(settings, strategy)

    def begin(self, settings: GossipSettings, strategy: Strategy) -> Rounds:
        return Rounds(settings, strategy, replica=self.replica, progress=self.progress, clock=self.now_s)

    def now_s(self) -> float:
        return self.progress.step * STEP_S

    def steps(self, count: int, *, batch: int = 10) -> None:
        for _ in range(count):
            self.progress.step += 1
            self.progress.samples += batch
            self.rounds.pace.step_done(self.now_s())

    def round(self, *, meanwhile: int = 0, samples: tuple[int, ...] = (100, 100), whole: bool = False) -> None:
        self.rounds.begin()
        assert self.rounds.snapshot_to_tell()
        self.steps(meanwhile)
        self.rounds.commit(0, samples, whole=whole)


STEP_MIX = GossipSettings(strategy="step-mix", every_steps=10)


def test_a_round_of_the_usual_length_counts_as_one() -> None:
    course = Course(STEP_MIX)
    course.steps(10)
    course.round()
    assert course.replica.works == [LocalWork(weight=1.0, horizon=1.0)]


def test_a_longer_pause_between_rounds_is_told_to_the_strategy() -> None:
    course = Course(STEP_MIX)
    for count in (10, 25, 5):
        course.steps(count)
        course.round()
    assert [work.horizon for work in course.replica.works] == [1.0, 2.5, 0.5]


def test_a_second_merge_with_nothing_learnt_takes_no_outer_step() -> None:
    course = Course(STEP_MIX)
    course.steps(10)
    course.round()
    course.round()
    assert course.replica.works[-1].horizon == 0.0


def test_with_rounds_by_time_the_usual_length_follows_from_the_speed_of_the_steps() -> None:
    course = Course(GossipSettings(strategy="step-mix", every_seconds=0.2))
    course.steps(200)
    assert course.rounds.pace.usual_steps == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize(
    ("samples", "weight"), [((100, 100), 1.0), ((50, 50), 2.0), ((1, 1), 4.0), ((9999, 9999), 0.25)]
)
def test_the_own_step_weighs_by_samples_against_the_last_group_within_limits(
    samples: tuple[int, ...], weight: float
) -> None:
    course = Course(STEP_MIX)
    course.steps(10)
    course.round(samples=samples)
    course.steps(10)
    course.round()
    assert course.replica.works[-1].weight == weight


def test_where_the_group_weighs_its_members_the_own_step_does_not() -> None:
    course = Course(GossipSettings(every_steps=10))
    for _ in range(2):
        course.steps(10)
        course.round(samples=(1, 1))
    assert [work.weight for work in course.replica.works] == [1.0, 1.0]


def test_samples_count_from_one_committed_round_to_the_next() -> None:
    course = Course(GossipSettings(every_steps=10))
    course.steps(10)
    course.rounds.begin()
    course.rounds.fail()
    course.steps(5)
    assert course.rounds.samples == 150
    course.round(meanwhile=3)
    assert course.rounds.samples == 0


def test_a_peer_has_met_lately_that_met_in_one_of_its_last_three_rounds_too() -> None:
    course = Course(STEP_MIX)
    for missed in (0, 2, 3, 0):
        for _ in range(missed):
            course.steps(10)
            course.rounds.begin()
            course.rounds.fail()
        course.steps(10)
        course.round()
    assert [work.met_lately for work in course.replica.taken] == [True, True, False, True]


@pytest.mark.parametrize(
    ("meanwhile", "late", "caution"), [(0, 0.0, 0.0), (1, 0.1, 0.0), (2, 0.2, 2 / 3), (5, 0.5, 1.0), (20, 1.0, 1.0)]
)
def test_the_later_the_last_average_was_the_more_cautious_is_the_next_step(
    meanwhile: int, late: float, caution: float
) -> None:
    course = Course(STEP_MIX)
    for _ in range(3):
        course.steps(max(0, 10 - meanwhile))
        course.round(meanwhile=meanwhile)
    work = course.replica.works[-1]
    assert course.replica.taken[-1] is work
    assert work.late == pytest.approx(late)
    assert work.caution == pytest.approx(caution)


def test_what_was_learnt_counts_for_no_more_than_three_times_the_usual_and_of_much_more_a_person_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    course = Course(STEP_MIX)
    for learnt in (*[1.0] * 8, 4.0, 12.0):
        course.replica.learnt = learnt
        course.steps(10)
        course.round()
    assert [work.learnt for work in course.replica.works] == [*[1.0] * 8, 0.75, 0.25]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "what was learnt since the last round is 12.0 times as far as usual, and counts as 3.0 times: training may be "
        "going astray"
    ]


def test_how_far_is_usual_is_known_again_after_a_restart() -> None:
    first, second = Course(STEP_MIX), Course(STEP_MIX)
    for _ in range(4):
        first.replica.learnt = 2.0
        first.steps(10)
        first.round()
    second.rounds.restore(first.rounds.counts())
    second.replica.learnt = 12.0
    second.steps(10)
    second.round()
    assert [work.learnt for work in second.replica.works] == [0.5]


GRADUAL = GossipSettings(strategy="gradual", every_steps=10)


def test_an_outer_step_that_grows_goes_on_where_a_checkpoint_has_left_it() -> None:
    first, second = Course(GRADUAL), Course(GRADUAL)
    for _ in range(3):
        first.steps(10)
        first.round()
    second.rounds.restore(first.rounds.counts())
    for course in (first, second):
        course.steps(10)
        course.round()
    assert [work.grown for work in first.replica.works] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert second.replica.works[-1].grown == pytest.approx(0.3)


@pytest.mark.parametrize(("meanwhile", "share"), [(0, 1.0), (9, 1.0), (10, 0.5), (29, 1 / 3), (30, 0.25)])
def test_a_late_average_is_taken_the_less_the_older_it_is(meanwhile: int, share: float) -> None:
    course = Course(GossipSettings(every_steps=10, gossip_alpha=0.5))
    course.steps(10)
    course.round()
    course.steps(10)
    course.round(meanwhile=meanwhile)
    assert course.replica.alphas[-1] == pytest.approx(0.5 * share)


def test_averages_that_always_take_longer_than_the_steps_between_are_not_late() -> None:
    course = Course(GossipSettings(every_steps=10))
    for _ in range(4):
        course.steps(10)
        course.round(meanwhile=100)
    assert course.replica.alphas == [1.0] * 4


def test_the_last_round_is_taken_whole_however_late() -> None:
    course = Course(GossipSettings(every_steps=10, gossip_alpha=0.3))
    course.steps(10)
    course.round()
    course.steps(10)
    course.round(meanwhile=500, whole=True)
    assert course.replica.alphas[-1] == 1.0


def test_a_snapshot_is_told_once() -> None:
    course = Course(STEP_MIX)
    assert not course.rounds.snapshot_to_tell()
    course.rounds.begin()
    assert course.rounds.snapshot_to_tell()
    assert not course.rounds.snapshot_to_tell()


def test_a_snapshot_whose_node_is_gone_is_not_told() -> None:
    course = Course(STEP_MIX)
    course.rounds.begin()
    course.rounds.lose_node()
    assert not course.rounds.snapshot_to_tell()


def test_after_a_missed_round_the_own_step_weighs_as_usual_since_more_was_learnt_by_itself() -> None:
    course = Course(STEP_MIX)
    course.steps(10)
    course.round(samples=(100, 100))
    course.steps(10)
    course.rounds.begin()
    course.rounds.fail()
    course.steps(10)
    assert course.rounds.samples == 100, "what others hear is of a usual round, too, and makes their steps no smaller"
    course.round()
    assert course.replica.works[-1].weight == 1.0


# A run that is resumed.


def resumed(course: Course, settings: GossipSettings, fragments: Fragments | None = None) -> Course:
    """The same course in another process, from a checkpoint that was saved now."""
    again = Course(settings, fragments or course.replica.fragments)
    again.progress.step = course.progress.step
    again.rounds = again.begin(settings, again.rounds.strategy)
    again.rounds.restore(course.rounds.counts())
    return again


@pytest.mark.parametrize("settings", [STEP_MIX, GossipSettings(every_steps=10)], ids=["step-mix", "average"])
def test_a_resumed_peer_goes_on_between_two_rounds_where_it_stopped(settings: GossipSettings) -> None:
    first = Course(settings)
    first.steps(10)
    first.round(samples=(50, 50))
    first.steps(7, batch=20)
    again = resumed(first, settings)
    for course in (first, again):
        course.steps(1, batch=20)
    assert again.rounds.samples == first.rounds.samples > 100
    assert again.rounds.learnt_since_snapshot
    for course in (first, again):
        course.round(meanwhile=9)
    assert again.replica.works[-1] == first.replica.works[-1]
    assert again.replica.alphas[-1] == first.replica.alphas[-1]


def test_what_was_learnt_before_a_checkpoint_counts_when_somebody_hurries_the_next_round() -> None:
    """With no steps counted the outer step would have no size, and the model would go back to the slow weights."""
    first = Course(STEP_MIX)
    first.steps(10)
    first.round()
    first.steps(8)
    again = resumed(first, STEP_MIX)
    again.round()
    assert again.replica.works == [LocalWork(weight=1.0, horizon=0.8)]


def test_a_resumed_peer_is_ready_when_it_would_have_been() -> None:
    first = Course(STEP_MIX)
    first.steps(9)
    again = resumed(first, STEP_MIX)
    assert not again.rounds.pace.is_due(again.now_s())
    again.steps(1)
    assert again.rounds.pace.is_due(again.now_s())


def test_a_round_that_a_checkpoint_interrupted_is_not_in_flight_afterwards() -> None:
    first = Course(STEP_MIX)
    first.steps(10)
    first.rounds.begin()
    first.steps(3)
    again = resumed(first, STEP_MIX)
    assert not again.rounds.in_flight
    assert again.rounds.samples == first.rounds.samples
    again.rounds.begin()
    assert again.replica.works[-1].horizon == 0.3


# Models in fragments.

HALVES = Fragments((2, 1))


def in_halves(settings: GossipSettings = STEP_MIX) -> Course:
    """After its first round with each half, 5 steps apart."""
    course = Course(settings, HALVES)
    for number in range(2):
        course.rounds.next_number = number
        course.steps(5)
        course.round()
    return course


def test_each_fragment_has_its_round_as_often_as_a_whole_model_would() -> None:
    course = in_halves()
    for number in range(2, 4):
        course.rounds.next_number = number
        course.steps(5)
        assert course.rounds.pace.is_due(course.now_s())
        course.round()
    first, second = course.replica.carried[:2]
    assert {first, second} == {0, 1}
    assert course.replica.carried == [first, second, first, second]
    assert [work.horizon for work in course.replica.works[2:]] == [1.0, 1.0]


def test_what_a_fragment_has_missed_counts_for_it_alone() -> None:
    course = in_halves()
    first, second = course.replica.carried
    course.steps(5)
    course.rounds.begin(first)
    course.rounds.fail()
    course.steps(5)
    for fragment, horizon in ((second, 1.0), (first, 0.5)):
        course.rounds.begin(fragment)
        assert course.replica.works[-1].horizon == horizon, "since its last snapshot"
        course.rounds.fail()
    assert not course.rounds.learnt_since_snapshot


def test_another_fragment_can_be_asked_for_when_a_round_has_begun() -> None:
    course = in_halves()
    course.steps(5)
    course.rounds.begin(0)
    assert course.rounds.snapshot_to_tell()
    course.rounds.begin(1)
    assert course.rounds.snapshot_to_tell()
    assert course.rounds.fragment == 1
    course.rounds.commit(0, (100, 100), whole=True)
    assert course.replica.carried[-2:] == [0, 1]


def test_a_peer_that_is_resumed_goes_on_with_each_fragment_where_it_was() -> None:
    first = in_halves()
    first.steps(3)
    again = resumed(first, STEP_MIX)
    assert again.rounds.counts() == first.rounds.counts()
    for course in (first, again):
        course.steps(2)
        for fragment in (0, 1):
            course.rounds.begin(fragment)
    assert again.replica.works == first.replica.works[2:]


def test_a_checkpoint_of_a_model_in_one_piece_fits_one_in_fragments_and_the_other_way_round() -> None:
    whole = Course(STEP_MIX)
    whole.steps(10)
    whole.round()
    whole.steps(4)
    for before, fragments in ((whole, HALVES), (in_halves(), Fragments((3,)))):
        again = resumed(before, STEP_MIX, fragments)
        again.steps(5)
        again.round()
        assert again.replica.works[-1].horizon > 0
