"""CIFAR-10 among ten parties whose classes differ, beside federated averaging with a server.

    .venv/bin/python -m benchmarks.papers.niid_bench
    .venv/bin/python -m benchmarks.papers.niid_bench --only "two classes" --rounds 5 --epochs 1

The published figures are those of Li et al. 2022 ("Federated learning on non-IID data silos", table III): two
convolutions of 6 and 16 channels and three layers behind them, ten parties of which all take part in each of 50 rounds,
ten passes over the own samples between two rounds, in steps of 64, SGD with a learning rate of 0.01 and a momentum of
0.9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.measure import whole_number
from benchmarks.papers.federated import Federation, accuracy_beside
from benchmarks.papers.tables import Figure, parser, show_figures, show_notes, write_figures
from gossiptrain.config import GossipSettings, StrategyName, checked
from gossiptrain.simulate import split
from gossiptrain.simulate.sources import TensorSource
from gossiptrain.simulate.split import Indices
from gossiptrain.training.tasks.augment import CropAndFlip
from gossiptrain.training.tasks.cifar10 import NORMALISE, Cifar10Task, load_cifar10
from gossiptrain.training.tasks.recipe import Recipe
from gossiptrain.training.tasks.task import seeded

PARTIES = 10
BATCH = 64
AUGMENT = CropAndFlip(NORMALISE, shift=4)
PUBLISHED: Mapping[str, float] = {"alike": 70.4, "Dirichlet 0.5": 68.2, "two classes": 49.8}
"""Of federated averaging. The best there are SCAFFOLD's 69.8 for Dirichlet 0.5 and FedProx's 50.7 for two classes; a
repetition by Flower has 71.7, 63.4 and 49.9."""
COURSES: Mapping[str, tuple[StrategyName, int]] = {
    "average, one group": ("average", PARTIES),
    "average, groups of 5": ("average", 5),
    "step-mix, groups of 5": ("step-mix", 5),
    "diloco": ("diloco", PARTIES),
}
NOTES = """
"average, one group" is federated averaging with equal weights. Here images are moved and mirrored; the learning rate
stays as it is, as there.
"""


class SmallNet(Cifar10Task):
    """The network of the paper."""

    recipe = Recipe(batch=BATCH, epochs=1, learning_rate=0.01, every_steps=1, nesterov=False, warmup=0.0, final=1.0)

    def build_model(self, seed: int) -> nn.Module:
        """62,006 parameters."""
        with seeded(seed):
            return nn.Sequential(
                nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
            )  # fmt: skip


def two_classes_each(labels: Indices, parties: int, *, seed: int) -> list[Indices]:
    """Party i has class i modulo 10 and another one at random; a class is divided equally among those that have it."""
    random = np.random.default_rng(seed)
    classes = int(labels.max()) + 1
    own = []
    for party in range(parties):
        first = party % classes
        own.append((first, int(random.choice([other for other in range(classes) if other != first]))))
    shares: list[list[Indices]] = [[] for _ in range(parties)]
    for label in range(classes):
        having = [party for party, pair in enumerate(own) if label in pair]
        of_class = random.permutation(np.flatnonzero(labels == label))
        for party, part in zip(having, np.array_split(of_class, max(1, len(having))), strict=False):
            shares[party].append(part)
    return [np.sort(np.concatenate(share)) for share in shares]


def shares_of(kind: str, labels: Indices, *, seed: int) -> list[Indices]:
    """The samples of each party."""
    if kind == "two classes":
        return two_classes_each(labels, PARTIES, seed=seed)
    if kind == "Dirichlet 0.5":
        return split.dirichlet(labels, PARTIES, concentration=0.5, seed=seed)
    return split.alike(labels, PARTIES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--data-dir", type=Path)
    own.add_argument("--rounds", type=whole_number(1), default=50)
    own.add_argument("--epochs", type=whole_number(1), default=10, help="between two rounds (10)")
    own.add_argument("--samples", type=whole_number(100), default=50_000, help="of the training data (50000)")
    own.add_argument("--lr", type=float, default=0.01)
    own.add_argument("--seed", type=whole_number(0), default=0)
    own.add_argument("--only", nargs="+", choices=tuple(PUBLISHED), default=list(PUBLISHED))
    own.add_argument("--courses", nargs="+", choices=tuple(COURSES), default=list(COURSES))
    own.add_argument("--device", default="cpu")
    given = own.parse_args(arguments)
    device, task = torch.device(given.device), SmallNet()
    arrays = load_cifar10(given.data_dir, "train")
    images, labels = arrays.images[: given.samples], arrays.labels[: given.samples]
    source = TensorSource(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), augment=AUGMENT)
    held_out = task.open_evaluation(data_dir=given.data_dir, device=device)
    figures: list[Figure] = []
    for kind in given.only:
        for course in given.courses:
            strategy, group_size = COURSES[course]
            grouping = "all" if strategy == "diloco" else "auto"
            federation = Federation(
                task=task,
                source=source,
                held_out=held_out,
                shares=shares_of(kind, labels, seed=given.seed),
                gossip=checked(
                    GossipSettings, strategy=strategy, gossip_group_size=group_size, grouping=grouping, seed=given.seed
                ),
                every_steps=max(1, given.epochs * len(labels) // PARTIES // BATCH),
                rounds=given.rounds,
                batch=BATCH,
                learning_rate=given.lr,
                seed=given.seed,
            )
            figures.append(accuracy_beside(federation, course, kind, published=PUBLISHED[kind], device=device))
    show_figures("Accuracy, percent", figures)
    show_notes(NOTES)
    write_figures(given.json, benchmark="niid_bench", figures=figures)


if __name__ == "__main__":
    main()
