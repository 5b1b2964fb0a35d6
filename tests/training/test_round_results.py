"""What came of a trainer's rounds, as its author and the pages are told."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from gossiptrain import events
from gossiptrain.swarm.coding import Buffers
from gossiptrain.swarm.participation import AveragedRound
from gossiptrain.training.bus import EventBus
from gossiptrain.training.model.binding import ModelBinding
from gossiptrain.training.round_results import RoundResults
from tests.training.test_news import ended_round


class Adapted(nn.Module):
    """A layer's low-rank adapter alone, of rank 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lora_A = nn.Linear(2, 1, bias=False)
        self.lora_B = nn.Linear(1, 2, bias=False)


def committed(**of_the_result: float) -> AveragedRound:
    averaged = ended_round(committed=True, **of_the_result).averaged
    assert averaged is not None
    return averaged


def no_memory() -> Buffers:
    return Buffers(np.zeros(0, np.float32), np.zeros(0, np.float32))


def test_bytes_are_counted_of_every_committed_round_and_rounds_only_where_their_average_was_taken() -> None:
    results = RoundResults(ModelBinding(nn.Linear(2, 2)), EventBus(), fragments=1)
    taken = committed(disagreement=0.5)
    results.note_average(taken, no_memory())
    results.note_taken(taken)
    results.note_average(committed(disagreement=0.25), no_memory())
    assert (results.committed, results.bytes_sent, results.disagreement) == (1, 16, 0.25)
    assert results.last is taken


def test_the_means_that_were_asked_for_follow_the_rounds_that_were_taken() -> None:
    model = nn.Linear(1, 1, bias=False)
    results = RoundResults(ModelBinding(model), EventBus(), fragments=1)
    smooth = results.smooth(model, rounds=2)
    for value in (1.0, 3.0):
        torch.nn.init.constant_(model.weight, value)
        results.note_taken(committed())
    mean = smooth.model()
    assert isinstance(mean, nn.Linear)
    assert mean.weight.item() == 2.0


def test_whose_adapters_were_far_apart_is_told_so_once_until_they_are_near_again() -> None:
    told: list[events.Event] = []
    bus = EventBus()
    bus.subscribe(told.append)
    binding = ModelBinding(Adapted())
    results = RoundResults(binding, bus, fragments=1)
    far = Buffers(np.full(4, 3.0, np.float32), np.ones(4, np.float32))
    for _ in range(2):
        results.note_average(committed(), far)
    assert results.adapter_error == 4.0
    (notice,) = told
    assert isinstance(notice, events.Notice)
    assert "adapters" in notice.message


def test_the_error_of_adapters_is_not_asked_for_where_a_round_carries_a_part_of_the_model() -> None:
    results = RoundResults(ModelBinding(Adapted()), EventBus(), fragments=2)
    results.note_average(committed(), no_memory())
    assert results.adapter_error is None
