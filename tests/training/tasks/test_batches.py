"""The stream of training batches: endless, and continued exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossiptrain.errors import CheckpointMismatchError
from gossiptrain.training.tasks.batches import Batch, TensorBatches
from gossiptrain.training.tasks.sampling import SampleOrder

SAMPLES = 21


def noisy(samples: Tensor, generator: torch.Generator) -> Tensor:
    """An augmentation that changes every sample every time."""
    return samples + torch.rand(samples.shape, generator=generator)


def stream(*, seed: int = 1, batch: int = 4, samples: int = SAMPLES) -> TensorBatches:
    targets = torch.arange(samples)
    order = SampleOrder(np.arange(samples), seed=seed, batch=batch)
    return TensorBatches(targets.float().unsqueeze(1), targets, order=order, augment=noisy)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


def test_inputs_and_targets_belong_together() -> None:
    batch = stream().next()
    assert len(batch) == 4
    assert torch.equal(batch.inputs.floor().long().squeeze(1), batch.targets)


def test_an_epoch_is_counted_in_whole_batches() -> None:
    batches = stream()
    assert (batches.samples, batches.steps_per_epoch) == (SAMPLES, 5)


def test_the_same_sample_is_augmented_anew_in_the_next_epoch() -> None:
    batches = stream(batch=SAMPLES)
    first, second = batches.next(), batches.next()
    assert not torch.equal(first.inputs.sort(dim=0).values, second.inputs.sort(dim=0).values)


def test_two_peers_see_different_batches() -> None:
    assert not same(stream(seed=1).next(), stream(seed=2).next())


@settings(deadline=None, max_examples=30)
@given(done=st.integers(0, 14), rest=st.integers(1, 8))
def test_a_restored_stream_gives_exactly_the_next_batches(done: int, rest: int) -> None:
    batches = stream()
    for _ in range(done):
        batches.next()
    state = json.loads(json.dumps(batches.state()))
    restored = stream()
    restored.next()  # whatever it did before must not matter
    restored.restore(state)
    assert all(same(batches.next(), restored.next()) for _ in range(rest))


def test_a_restored_stream_may_have_another_batch_size() -> None:
    batches = stream(batch=4)
    seen = {int(target) for _ in range(3) for target in batches.next().targets}
    restored = stream(batch=9)
    restored.restore(batches.state())
    assert seen.isdisjoint(restored.next().targets.tolist())


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 0, "position": 0, "samples": SAMPLES + 1},
        {"epoch": -1, "position": 0, "samples": SAMPLES},
        {"epoch": 0, "position": SAMPLES + 1, "samples": SAMPLES},
        {"epoch": "0", "position": 0, "samples": SAMPLES},
    ],
)
def test_the_state_of_another_stream_is_refused(state: dict[str, object]) -> None:
    batches = stream()
    with pytest.raises(CheckpointMismatchError):
        batches.restore(state)
    assert same(batches.next(), stream().next())
