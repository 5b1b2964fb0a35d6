"""Fashion-MNIST among 100 peers of which ten are there at a time, beside federated averaging with a server.

    .venv/bin/python -m benchmarks.papers.fashion_rounds --data-dir Fashion-MNIST
    .venv/bin/python -m benchmarks.papers.fashion_rounds --data-dir Fashion-MNIST --only "Dirichlet 0.1" --rounds 100

The published figures are those of Li et al. 2025 ("A fast and flat federated learning method via weighted momentum and
sharpness-aware minimization", table 1): two hidden layers of 200, 100 clients of 600 samples, each with a mixture of
classes of its own that is drawn from a Dirichlet distribution, ten of them in each of 500 rounds, five passes in steps
of 50, a learning rate of 0.1 that falls to 0.998 of itself in each round, weight decay 0.001, gradients no longer than
10. The four files of Fashion-MNIST are to be brought along; those of MNIST have the same form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.optim import Optimizer

from benchmarks.measure import whole_number
from benchmarks.papers.federated import Federation, accuracy_beside
from benchmarks.papers.idx_images import IdxImages, read_idx_images
from benchmarks.papers.mnist_rounds import TwoLayers
from benchmarks.papers.tables import Figure, parser, show_figures, show_notes, write_figures
from gossiptrain.config import GossipSettings, StrategyName, checked
from gossiptrain.simulate.sources import TensorSource
from gossiptrain.simulate.split import Indices
from gossiptrain.training.tasks.evaluation import TensorEvaluationSet
from gossiptrain.training.tasks.recipe import StepSchedule
from gossiptrain.training.tasks.sampling import seed_from

BATCH = 50
EPOCHS = 5
KEPT_RATE = 0.998
"""Of the learning rate, from one round to the next."""
CONCENTRATIONS: Mapping[str, float] = {"Dirichlet 0.6": 0.6, "Dirichlet 0.1": 0.1}
PUBLISHED: Mapping[str, float] = {"Dirichlet 0.6": 86.84, "Dirichlet 0.1": 82.26}
"""Of federated averaging."""
COURSES: Mapping[str, tuple[StrategyName, int]] = {
    "average, one group": ("average", 64),
    "average, groups of half": ("average", 0),
    "step-mix, one group": ("step-mix", 64),
    "step-mix, groups of half": ("step-mix", 0),
}
"""Strategy and most peers in a group; 0: half of those that are there."""
NOTES = """
Beside each line stands federated averaging, which "average, one group" is, with a server for the group. The paper has
82.83 and 73.33 for FedCM, whose momentum is within the local steps, 87.89 and 83.51 for SCAFFOLD, and 87.56 and 84.64
for its own FedWMSAM, which takes twice as many gradients.

Who comes back takes over what a peer of the last round gives to joiners: its parameters, with step-mix its momentum
beside them. These bytes are counted.
"""


class Garments(TwoLayers):
    """The same network by the paper's rule for the learning rate. every_steps: of a peer in a round."""

    name = "fashion"
    recipe = replace(TwoLayers.recipe, batch=BATCH, weight_decay=1e-3, clip_norm=10.0)

    def __init__(self, *, every_steps: int) -> None:
        self._every_steps = every_steps

    def build_schedule(self, optimizer: Optimizer, *, total_steps: int) -> StepSchedule:
        """The same learning rate within a round, and a little less in the next one."""
        return StepSchedule(optimizer, lambda step: KEPT_RATE ** (step // self._every_steps))


def mixtures(labels: Indices, peers: int, *, concentration: float, seed: int) -> list[Indices]:
    """As many samples for each peer, of classes in shares that it draws for itself; where a class has been given out
    altogether its samples are given once more."""
    random = np.random.default_rng(seed_from("mixtures", seed))
    classes = int(labels.max()) + 1
    of_class = [random.permutation(np.flatnonzero(labels == label)) for label in range(classes)]
    given = np.zeros(classes, np.int64)
    shares = []
    for _ in range(peers):
        counts = random.multinomial(len(labels) // peers, random.dirichlet(np.full(classes, concentration)))
        own = []
        for label, count in enumerate(counts):
            places = np.arange(given[label], given[label] + count) % len(of_class[label])
            own.append(of_class[label][places])
            given[label] += count
        shares.append(np.sort(np.concatenate(own)))
    return shares


def standardised(images: IdxImages, like: IdxImages) -> torch.Tensor:
    """Pixels less the mean of those of `like`, by their standard deviation."""
    return torch.from_numpy((images.pixels - like.pixels.mean()) / like.pixels.std())


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--data-dir", type=Path, required=True, help="folder of the four files")
    own.add_argument("--peers", type=whole_number(4, 1000), default=100)
    own.add_argument("--present", type=whole_number(2, 64), default=10, help="in each round (10)")
    own.add_argument("--rounds", type=whole_number(1), default=500)
    own.add_argument("--lr", type=float, default=0.1)
    own.add_argument("--seed", type=whole_number(0), default=0)
    own.add_argument("--only", nargs="+", choices=tuple(PUBLISHED), default=list(PUBLISHED))
    given = own.parse_args(arguments)
    training, test = (read_idx_images(given.data_dir, half) for half in ("train", "t10k"))
    every_steps = max(1, EPOCHS * (len(training.labels) // given.peers) // BATCH)
    figures: list[Figure] = []
    for kind in given.only:
        shares = mixtures(training.labels, given.peers, concentration=CONCENTRATIONS[kind], seed=given.seed)
        for course, (strategy, group_size) in COURSES.items():
            federation = Federation(
                task=Garments(every_steps=every_steps),
                source=TensorSource(standardised(training, training), torch.from_numpy(training.labels)),
                held_out=TensorEvaluationSet(standardised(test, training), torch.from_numpy(test.labels), batch=2000),
                shares=shares,
                gossip=checked(
                    GossipSettings,
                    strategy=strategy,
                    gossip_group_size=group_size or max(2, given.present // 2),
                    seed=given.seed,
                ),
                every_steps=every_steps,
                rounds=given.rounds,
                batch=min(BATCH, min(map(len, shares))),
                learning_rate=given.lr,
                seed=given.seed,
                present=given.present,
            )
            figures.append(
                accuracy_beside(federation, course, kind, published=PUBLISHED[kind], device=torch.device("cpu"))
            )
    show_figures("Accuracy, percent", figures)
    show_notes(NOTES)
    write_figures(given.json, benchmark="fashion_rounds", figures=figures)


if __name__ == "__main__":
    main()
