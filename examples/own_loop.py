"""Your own PyTorch loop in a swarm: two lines are added, and the rest stays as it was.

    .venv/bin/python examples/own_loop.py              # terminal 1: prints its addresses
    .venv/bin/python examples/own_loop.py ADDRESS      # terminal 2: with one of them

Each peer sees a random half of scikit-learn's digits. Both stop after 20 rounds together, and print the same digest:
they end with bitwise the same model. A peer that stays alone trains on until Ctrl+C.
"""

from __future__ import annotations

import hashlib
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from gossiptrain import gossip

ROUNDS = 20


def main(initial_peers: list[str]) -> None:
    torch.set_num_threads(1)  # so small a model gains nothing from more
    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    training, test = torch.arange(len(targets)) % 5 != 0, torch.arange(len(targets)) % 5 == 0
    own_half = training.nonzero().flatten()[torch.randperm(int(training.sum()))[: int(training.sum()) // 2]]

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    with gossip(model, optimizer, run="own loop", initial_peers=initial_peers, every_steps=50) as swarm:
        for address in swarm.addresses:
            print(f"address {address}", flush=True)
        while swarm.rounds < ROUNDS:
            batch = own_half[torch.randint(len(own_half), (32,))]
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    with torch.inference_mode():
        accuracy = (model(inputs[test]).argmax(dim=1) == targets[test]).float().mean().item()
    digest = hashlib.sha256(b"".join(parameter.numpy().tobytes() for parameter in model.state_dict().values()))
    print(f"{swarm.rounds} rounds, {swarm.step} steps, test accuracy {accuracy:.1%}")
    print(f"digest {digest.hexdigest()[:16]}")


if __name__ == "__main__":
    main(sys.argv[1:])
