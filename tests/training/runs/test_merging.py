"""Several state dicts as one: their exact mean, and how far they were apart."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.training.runs.merging import merge

State = dict[str, Tensor]


@st.composite
def states(draw: st.DrawFn) -> list[State]:
    """One to five state dicts of two tensors."""
    count = draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    return [
        {"weight": torch.randn(3, 2, generator=generator), "bias": torch.randn(3, generator=generator)}
        for _ in range(count)
    ]


@given(states())
@settings(deadline=None, max_examples=50)
def test_the_merged_model_is_the_mean(given_states: list[State]) -> None:
    merged = merge(given_states)
    for name in ("weight", "bias"):
        expected = sum(state[name].double() for state in given_states) / len(given_states)
        assert isinstance(expected, Tensor)
        torch.testing.assert_close(merged.state[name], expected.float())


@given(states())
@settings(deadline=None, max_examples=50)
def test_the_disagreement_is_the_relative_root_mean_square_distance_from_the_mean(given_states: list[State]) -> None:
    flat = torch.stack(
        [torch.cat([tensor.reshape(-1) for tensor in state.values()]).double() for state in given_states]
    )
    mean = flat.mean(dim=0)
    expected = math.sqrt(float((flat - mean).square().mean()) / float(mean.square().mean()))
    assert merge(given_states).disagreement == pytest.approx(expected, rel=1e-9)


@given(states())
@settings(deadline=None, max_examples=50)
def test_the_order_does_not_matter(given_states: list[State]) -> None:
    one, other = merge(given_states), merge(given_states[::-1])
    assert one.disagreement == pytest.approx(other.disagreement, rel=1e-9)
    torch.testing.assert_close(one.state, other.state)


def test_one_model_merges_to_itself_bit_by_bit_and_agrees_with_itself() -> None:
    state = {"weight": torch.randn(4), "half": torch.randn(4).bfloat16()}
    merged = merge([state])
    assert merged.disagreement == 0.0
    assert all(torch.equal(merged.state[name], tensor) for name, tensor in state.items())


def test_integers_are_taken_from_the_first_and_types_stay() -> None:
    first = {"steps": torch.tensor(3), "half": torch.tensor([1.0], dtype=torch.float16)}
    second = {"steps": torch.tensor(8), "half": torch.tensor([2.0], dtype=torch.float16)}
    merged = merge([first, second])
    assert merged.state["steps"].item() == 3
    assert merged.state["half"].dtype == torch.float16
    assert merged.state["half"].item() == 1.5


def test_models_that_are_zero_agree() -> None:
    assert merge([{"weight": torch.zeros(3)}, {"weight": torch.zeros(3)}]).disagreement == 0.0


@pytest.mark.parametrize("other", [{"weight": torch.zeros(4)}, {"wait": torch.zeros(3)}, {}])
def test_models_of_other_names_or_shapes_are_refused(other: State) -> None:
    with pytest.raises(CheckpointMismatchError, match="different models"):
        merge([{"weight": torch.zeros(3)}, other])
