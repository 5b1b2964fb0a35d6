"""Rounds until MNIST is known to 97 percent, beside federated averaging with a server.

    .venv/bin/python -m benchmarks.papers.mnist_rounds --data-dir MNIST --lr 0.1
    .venv/bin/python -m benchmarks.papers.mnist_rounds --data-dir MNIST --lr 0.1 --only "two digits"

The published figures are those of McMahan et al. 2017 ("Communication-efficient learning of deep networks from
decentralized data", table 1): the 2NN (two hidden layers of 200), 100 clients of 600 samples, all of them in every
round (C = 1), one pass in steps of 10, learning rates tuned. Each peer's samples are of all digits, or two shards of
300 sorted ones. The four files of MNIST are to be brought along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.measure import whole_number
from benchmarks.papers.federated import Federation, rounds_of
from benchmarks.papers.idx_images import IdxImages, read_idx_images
from benchmarks.papers.tables import Figure, beside, parser, show_figures, show_notes, write_figures
from gossiptrain.config import GossipSettings, StrategyName, checked
from gossiptrain.simulate import split
from gossiptrain.simulate.sources import TensorSource
from gossiptrain.simulate.split import Indices
from gossiptrain.training.tasks.batches import TrainingBatches
from gossiptrain.training.tasks.evaluation import TensorEvaluationSet
from gossiptrain.training.tasks.recipe import Recipe
from gossiptrain.training.tasks.sampling import Share
from gossiptrain.training.tasks.task import Task, seeded

GOAL = 0.97
BATCH = 10
PUBLISHED: Mapping[str, int] = {"all digits": 70, "two digits": 380}
COURSES: Mapping[str, tuple[StrategyName, int]] = {
    "average, groups of 50": ("average", 50),
    "average, groups of 10": ("average", 10),
    "step-mix, groups of 50": ("step-mix", 50),
    "step-mix, groups of 10": ("step-mix", 10),
}
NOTES = """
The paper's figure stands beside each line: there a server averages all 100 clients in every round, so a client sends
one model and is sent one. Here nobody is a server: in groups of k each peer sends 2 (k - 1) / k models.
"""


class TwoLayers(Task):
    """The 2NN on MNIST, by plain SGD at one learning rate."""

    name = "mnist"
    recipe = Recipe(
        batch=BATCH,
        epochs=1,
        learning_rate=0.1,
        every_steps=60,
        momentum=0.0,
        nesterov=False,
        warmup=0.0,
        final=1.0,
    )

    @property
    def description(self) -> str:
        """What peers must agree on."""
        return "mnist/mlp 784-200-200-10"

    def build_model(self, seed: int) -> nn.Module:
        """199,210 parameters."""
        with seeded(seed):
            return nn.Sequential(
                nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)
            )  # fmt: skip

    def open_training(
        self, *, data_dir: Path | None, share: Share, batch: int, device: torch.device
    ) -> TrainingBatches:
        """Never asked for: virtual peers draw from a `TensorSource`."""
        raise NotImplementedError

    def open_evaluation(self, *, data_dir: Path | None, device: torch.device) -> TensorEvaluationSet:
        """The test half."""
        assert data_dir is not None
        test = read_idx_images(data_dir, "t10k")
        return TensorEvaluationSet(torch.from_numpy(test.pixels), torch.from_numpy(test.labels), batch=2000)


def two_shards_each(labels: Indices, peers: int, *, seed: int) -> list[Indices]:
    """The samples sorted by digit and cut into twice as many shards as there are peers, of which each has two."""
    shards = np.array_split(np.argsort(labels, kind="stable"), 2 * peers)
    dealt = np.random.default_rng(seed).permutation(2 * peers).reshape(peers, 2)
    return [np.sort(np.concatenate([shards[own] for own in pair])) for pair in dealt]


def rounds_to_goal(
    training: IdxImages, *, data_dir: Path, peers: int, kind: str, course: str, rate: float, most: int, seed: int
) -> int | None:
    """The round in which all peers' mean model first knows 97 percent; None: in none of `most`."""
    strategy, group_size = COURSES[course]
    labels = training.labels
    shares = split.alike(labels, peers) if kind == "all digits" else two_shards_each(labels, peers, seed=seed)
    federation = Federation(
        task=TwoLayers(),
        source=TensorSource(torch.from_numpy(training.pixels), torch.from_numpy(labels)),
        held_out=TwoLayers().open_evaluation(data_dir=data_dir, device=torch.device("cpu")),
        shares=shares,
        gossip=checked(GossipSettings, strategy=strategy, gossip_group_size=group_size, seed=seed),
        every_steps=max(1, len(labels) // peers // BATCH),
        rounds=most,
        batch=BATCH,
        learning_rate=rate,
        seed=seed,
    )
    for number, after in enumerate(rounds_of(federation, device=torch.device("cpu")), start=1):
        if after.accuracy >= GOAL:
            return number
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--data-dir", type=Path, required=True, help="folder of the four files")
    own.add_argument("--peers", type=whole_number(4, 256), default=100)
    own.add_argument("--lr", type=float, default=0.1, help="of all lines (0.1)")
    own.add_argument("--rounds", type=whole_number(1), default=1000, help="at most (1000)")
    own.add_argument("--seed", type=whole_number(0), default=0)
    own.add_argument("--only", nargs="+", choices=tuple(PUBLISHED), default=list(PUBLISHED))
    given = own.parse_args(arguments)
    training = read_idx_images(given.data_dir, "train")
    figures: list[Figure] = []
    for kind in given.only:
        for course in COURSES:
            needed = rounds_to_goal(
                training,
                data_dir=given.data_dir,
                peers=given.peers,
                kind=kind,
                course=course,
                rate=given.lr,
                most=given.rounds,
                seed=given.seed,
            )
            print(f"{course}, {kind}: {needed or 'never'}", flush=True)
            figures.append(beside(course, kind, published=PUBLISHED[kind], ours=needed))
    show_figures("Rounds to 97 percent", figures, digits=0)
    show_notes(NOTES)
    write_figures(given.json, benchmark="mnist_rounds", figures=figures)


if __name__ == "__main__":
    main()
