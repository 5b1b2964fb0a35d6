"""All that `gossip train` takes seconds to import, for the process from which trainers of tests are forked.

Owns that list. Imported by that process alone, before any trainer is forked; whatever threads torch began here would be
missing in the trainers, so it begins none.
"""

from __future__ import annotations

import gc

import torch
from torch import nn

import gossiptrain.cli.main
import gossiptrain.training.tasks.cifar10
import gossiptrain.training.tasks.digits
import gossiptrain.training.tasks.imagenet
import gossiptrain.training.tasks.text
import gossiptrain.training.trainer  # noqa: F401


def make_a_step() -> None:
    """With the first step of its first optimizer torch imports as much again."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step()


torch.set_num_threads(1)
make_a_step()
gc.freeze()  # lest the collector write to pages that are shared with all trainers
