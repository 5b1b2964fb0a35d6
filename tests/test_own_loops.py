"""The guide for own loops: each of its blocks runs as it stands there, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.members import LOCAL, Member  # noqa: F401 (by importing it a file says that it starts nodes)

GUIDE = Path(__file__).parents[1] / "docs" / "own_loops.md"
WATCHING = GUIDE.with_name("watching.md")


def blocks(page: Path = GUIDE) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(tmp_path: Path) -> dict[str, Any]:
    """What the guide takes for given."""
    inputs = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    loader = DataLoader(TensorDataset(inputs, (inputs.sum(dim=1) > 0).long()), batch_size=8)
    model = nn.Linear(4, 2)
    loss = nn.CrossEntropyLoss()

    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss(model(inputs), targets).backward()
            optimizer.step()

    def evaluate(model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
        loss(model(inputs), targets)

    return {
        "torch": torch,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loader": loader,
        "test_loader": loader,
        "loss": loss,
        "train": train,
        "evaluate": evaluate,
        "path": tmp_path / "checkpoint.pt",
    }


def test_every_block_of_the_guide_runs(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks():
        exec(compile(block, GUIDE.name, "exec"), names)
    assert names["swarm"].step == 8, "it goes on from the step of the checkpoint"
    assert "/p2p/" in capsys.readouterr().out


def test_a_page_for_an_own_loop_is_made_as_it_is_said(names: dict[str, Any]) -> None:
    exec(compile("from gossiptrain import gossip\n" + "\n".join(blocks(WATCHING)), WATCHING.name, "exec"), names)
    (own,) = names["picture"].snapshot()["peers"]
    assert own["id"] == names["swarm"].peer_id
