"""What the last own steps of a peer say of the next one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.training.model.own_steps import FEWEST, MOST, StepLengths, products_of, products_of_rows

LENGTHS = st.floats(1e-6, 1e6)


def shares(lengths: StepLengths, *given: float, horizon: float = 1.0) -> list[float]:
    return [lengths.share_of(length, horizon=horizon) for length in given]


@given(st.lists(LENGTHS, max_size=30), LENGTHS)
def test_no_step_counts_for_more_than_three_times_the_usual_length(before: list[float], length: float) -> None:
    lengths = StepLengths()
    shares(lengths, *before)
    usual = lengths.usual
    (share,) = shares(lengths, length)
    if usual == 0:
        assert len(before) < FEWEST
        assert share == 1
    else:
        assert share * length == pytest.approx(min(length, MOST * usual))


@given(st.lists(st.floats(1.0, 2.9), max_size=30))
def test_steps_that_are_about_as_long_as_each_other_count_in_full(given: list[float]) -> None:
    assert shares(StepLengths(), *given) == [1.0] * len(given)


def test_steps_that_stay_longer_become_usual() -> None:
    lengths = StepLengths()
    shares(lengths, *[1.0] * 8)
    found = shares(lengths, *[10.0] * 12)
    assert found[:4] == pytest.approx([0.3] * 4)
    assert found[-1] == 1.0
    assert lengths.usual == pytest.approx(10.0, rel=0.1)


def test_while_learning_rates_rise_steps_may_grow() -> None:
    assert shares(StepLengths(), *[float(number) for number in range(1, 20)]) == [1.0] * 19


def test_a_few_long_steps_do_not_move_what_is_usual() -> None:
    lengths = StepLengths()
    shares(lengths, *[1.0] * 8, 100.0, 1.0, 100.0, 1.0, 100.0)
    assert lengths.usual == 1.0


def test_after_a_round_that_was_missed_the_way_may_be_as_much_longer() -> None:
    lengths = StepLengths()
    shares(lengths, *[1.0] * 8)
    assert shares(lengths, 6.0, 12.0, horizon=2.0) == [1.0, 0.5]
    assert lengths.usual == 1.0


def test_tries_after_a_few_steps_are_no_example_of_what_is_usual() -> None:
    lengths = StepLengths()
    shares(lengths, *[1.0] * 8)
    assert shares(lengths, *[0.1] * 20, horizon=0.1) == [1.0] * 20
    assert shares(lengths, 1.0) == [1.0]


@pytest.mark.parametrize("length", [0.0, math.inf, math.nan])
def test_what_has_no_length_is_not_noted_and_left_to_the_guard(length: float) -> None:
    lengths = StepLengths(usual=1.0)
    assert shares(lengths, *[length] * 9) == [1.0] * 9
    assert lengths.usual == 1.0


def test_the_rows_of_a_matrix_are_as_tensors_by_themselves() -> None:
    random = torch.Generator().manual_seed(2)
    local, shared, momentum = (torch.randn(3, 8, generator=random) for _ in range(3))
    rows = products_of_rows(local, shared, momentum)
    for row in range(3):
        own = products_of(*(values[row].view(2, 4) for values in (local, shared, momentum)))
        torch.testing.assert_close(own, rows[row], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rows[:, 1], (local - shared).double().square().sum(dim=1), rtol=1e-5, atol=0.0)
