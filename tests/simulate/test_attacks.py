"""Liars among virtual peers, what they show, and what guards and other aggregators make of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from gossiptrain.simulate.aggregators import krum, liars_expected, median, trimmed_mean
from gossiptrain.simulate.attacks import Attack, AttackName
from gossiptrain.simulate.learn import run
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.lies import Liars, Lies
from gossiptrain.simulate.results import LearnResult

ELEMENTS = 400
RNG = np.random.default_rng(0)
HONEST = (1.0 + 0.1 * RNG.normal(size=(6, ELEMENTS))).astype(np.float32)
BEFORE = np.zeros(ELEMENTS, np.float32)


def lie(name: AttackName) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return Attack(name, elements=ELEMENTS, seed=1).values(HONEST[0], HONEST, BEFORE)


def test_each_attack_is_what_its_name_says() -> None:
    mean = HONEST.mean(axis=0)
    assert np.isnan(lie("nan")).all()
    assert (lie("huge") == np.float32(1e30)).all()
    assert np.allclose(lie("scale"), 1e4 * HONEST[0])
    assert np.allclose(lie("sign-flip"), -HONEST[0])
    assert np.std(lie("noise") - HONEST[0]) == pytest.approx(10, rel=0.2)
    assert np.allclose(lie("alie"), mean - 1.5 * HONEST.std(axis=0), atol=1e-6)
    assert np.allclose(lie("ipm"), -0.5 * mean)
    assert np.linalg.norm(lie("drift") - mean) == pytest.approx(np.linalg.norm(mean), rel=1e-4)


def test_liars_show_lies_where_somebody_is_there_to_hear_them() -> None:
    lies = Lies(Liars(2, "sign-flip"), peers=6, elements=ELEMENTS, seed=0)
    shown = lies.shown([[0, 1, 4], [2, 3]], HONEST, np.zeros_like(HONEST))
    assert (shown[4] == -HONEST[4]).all()
    assert (shown[[0, 1, 2, 3, 5]] == HONEST[[0, 1, 2, 3, 5]]).all()


@pytest.mark.parametrize("aggregate", [median, trimmed_mean, krum])
def test_robust_aggregators_do_not_follow_a_quarter_of_liars(aggregate: object) -> None:
    values = np.concatenate([HONEST, np.full((2, ELEMENTS), 1e4, np.float32)])
    assert callable(aggregate)
    assert np.abs(aggregate(values) - 1).max() < 1


def test_of_few_members_fewer_than_half_are_thought_to_lie() -> None:
    assert [liars_expected(members) for members in (2, 3, 4, 8, 16)] == [0, 1, 1, 2, 4]


def learnt(**changes: object) -> LearnResult:
    given = {"task": "digits", "strategy": "average", "peers": 8, "steps": 60, "every_steps": 10, "evaluate_every": 0}
    return run(LearnSettings.model_validate(given | changes))


@pytest.mark.parametrize("attack", ["nan", "huge", "scale"])
@pytest.mark.parametrize("guard", ["result", "clip"])
def test_gross_lies_of_a_quarter_cost_the_honest_next_to_nothing(attack: str, guard: str) -> None:
    clean = learnt(attackers=2, group_size=4)
    found = learnt(attackers=2, group_size=4, attack=attack, guard=guard)
    assert len(found.peers) == 6
    assert found.mean_peer.loss < 1.1 * clean.mean_peer.loss


def test_without_a_guard_the_same_lies_end_all_learning() -> None:
    found = learnt(attackers=2, attack="scale", guard="off")
    assert not math.isfinite(found.mean_peer.loss) or found.mean_peer.loss > 10


@pytest.mark.parametrize("guard", ["result", "clip"])
@pytest.mark.parametrize("changes", [{}, {"group_size": 2}, {"non_iid": 0.1, "group_size": 4}], ids=str)
def test_where_nobody_lies_nothing_is_refused(guard: str, changes: dict[str, object]) -> None:
    assert learnt(guard=guard, **changes).refused == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"attackers": 7},
        {"attack": "noise"},
        {"guard": "clip", "codec": "int8"},
        {"guard": "krum", "codec": "fp16"},
        {"guard": "median", "attackers": 2, "lying_owners": True},
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LearnSettings.model_validate({"task": "digits", "peers": 8} | changes)
