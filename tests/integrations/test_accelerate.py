"""A loop with accelerate in a swarm: `gossip()` takes what `accelerator.prepare` returns."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn

from gossiptrain import gossip
from tests.integrations.classifier import INPUTS, TARGETS
from tests.members import LOCAL


def test_a_step_is_one_of_the_optimizer_however_many_batches_are_accumulated() -> None:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    model = nn.Linear(8, 2)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with gossip(model, optimizer, run="accelerated", network=LOCAL) as swarm:
        for _ in range(12):
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(INPUTS), TARGETS)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        assert swarm.step == 3
