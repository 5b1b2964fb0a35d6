"""How fast disagreement shrinks in rounds of groups, and where it settles: each law beside a simulation.

    .venv/bin/python -m benchmarks.papers.contraction_laws
    .venv/bin/python -m benchmarks.papers.contraction_laws --samples 20000 --json laws.json

The laws are the package's own functions, `core/averaging.py` and `core/stability.py`; "law" is what they say. Plain
contraction is measured on the groups that the package forms; where outer momentum comes in, random groups of equal size
are drawn for thousands of small swarms at once. All agree within 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measure import whole_number
from benchmarks.papers.mixing import Meetings, averaged, in_random_groups, variance_among_peers
from benchmarks.papers.tables import Figure, beside, parser, show_figures, show_notes, write_figures
from gossiptrain.core.averaging import contraction_with_alpha, expected_contraction
from gossiptrain.core.grouping import GroupLimits, group_sizes
from gossiptrain.core.stability import StepMixMoments, noloco_radius, steady_disagreement_average
from gossiptrain.training.model.outer_step import OuterSettings
from gossiptrain.training.model.strategies import StepMix

SAMPLES = 4000
"""Rounds, or swarms, over which a mean is taken."""
NOTES = """
A round of r groups among N peers leaves (r - 1) / (N - 1) of the variance, those that stay away counted as groups of
one, whatever the sizes. With alpha below 1 it leaves rho + (1 - alpha)^2 (1 - rho).

NoLoCo's factor (Kolehmainen et al. 2025) above 1: with momentum 0.9, as DiLoCo has it, pairs drift apart. Step-mix
settles for every momentum below 1, whatever its outer step takes at once (a); with agreement of the momenta (p) lower.
For each outer step p is 0, what is stable however seldom peers meet, and what is stable where they meet often.
"""


@dataclass(frozen=True)
class Swarm:
    """Peers that meet in groups of up to `size`, each absent from a round with a chance of `absence`."""

    peers: int
    size: int
    absence: float = 0.0

    @property
    def row(self) -> str:
        """Its name in the tables."""
        away = f", {self.absence:.0%} away" if self.absence else ""
        return f"N = {self.peers}, k = {self.size}{away}"

    @property
    def contraction(self) -> float:
        """What the law says of a round; linear in the number of groups, so the mean over who is there goes into it."""
        limits = GroupLimits(2, self.size)
        groups = 0.0
        for present in range(self.peers + 1):
            sizes = group_sizes(present, limits)
            chance = math.comb(self.peers, present) * (1 - self.absence) ** present
            chance *= self.absence ** (self.peers - present)
            groups += chance * (len(sizes) + self.peers - sum(sizes))
        return (groups - 1) / (self.peers - 1)


CONTRACTING = [
    *(Swarm(peers, size) for peers, size in ((8, 2), (8, 4), (16, 2), (16, 4), (16, 8), (64, 4), (64, 8), (64, 16))),
    *(Swarm(peers, size) for peers, size in ((15, 6), (7, 4), (13, 4), (5, 2))),
    *(Swarm(peers, size, 0.1) for peers, size in ((16, 4), (64, 8))),
    *(Swarm(peers, size, 0.3) for peers, size in ((16, 4), (12, 2))),
]
SETTLING = [Swarm(16, 2), Swarm(16, 4), Swarm(16, 8), Swarm(64, 8)]
ALPHAS = [1.0, 0.9, 0.75, 0.5, 0.25]
NOLOCO = [(0.3, 0.7), (0.5, 0.7), (0.5, 1.0), (0.8, 0.7), (0.9, 0.7), (0.9, 1.0)]
"""Momentum and learning rate; the second is the published setting."""
OUTER_STEPS = [
    *(OuterSettings(0.7, momentum) for momentum in (0.5, 0.8, 0.9)),
    *(OuterSettings(*rate_and_momentum, immediate=1.0) for rate_and_momentum in ((0.7, 0.8), (0.35, 0.9))),
]


def contraction(swarm: Swarm, *, samples: int, alpha: float = 1.0) -> float:
    """Mean share of the variance that is left after a round of the package's random groups."""
    rng = np.random.default_rng([swarm.peers, swarm.size])
    meetings = Meetings("random", swarm.size)
    shares = []
    for round_number in range(samples):
        values = rng.normal(size=swarm.peers)
        present = np.flatnonzero(rng.random(swarm.peers) >= swarm.absence).tolist()
        mean = averaged(values, meetings.groups(present, round_number))
        shares.append(np.var(values + alpha * (mean - values)) / np.var(values))
    return float(np.mean(shares))


def rounds_to(swarm: Swarm, share: float, *, samples: int) -> int:
    """Rounds until the mean variance of ten times as many swarms is below a share of what it was: few keep most."""
    rng = np.random.default_rng(swarm.size)
    values = rng.normal(size=(10 * samples, swarm.peers))
    begun = variance_among_peers(values)
    rounds = 0
    while variance_among_peers(values) >= share * begun:
        values = in_random_groups(values, swarm.peers // swarm.size, rng)
        rounds += 1
    return rounds


def noloco_factor(swarm: Swarm, momentum: float, learning_rate: float, *, samples: int) -> float:
    """Factor by which a round of NoLoCo multiplies the squared disagreement, over 36 rounds after the first 12."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(samples, swarm.peers))
    velocity = np.zeros_like(weights)
    found = []
    for _ in range(48):
        mean = in_random_groups(weights, swarm.peers // swarm.size, rng)
        velocity = momentum * velocity + learning_rate * (mean - weights)
        weights = weights + velocity
        found.append(variance_among_peers(weights))
    return float((found[47] / found[11]) ** (1 / 36))


def settled(swarm: Swarm, rule: StepMixMoments, *, samples: int) -> float:
    """Squared disagreement after a round, mean over rounds 41 to 60.

    Every peer takes an outer step on noise of its own, of variance 1, then averages; without momentum that is plain
    averaging.
    """
    rng = np.random.default_rng(int(1000 * rule.momentum) + swarm.size)
    weights = np.zeros((samples, swarm.peers))
    velocity = np.zeros_like(weights)
    found = []
    for _ in range(60):
        learnt = rng.normal(size=weights.shape)
        stepped = weights + rule.immediate * learnt + rule.remembered * velocity
        velocity = rule.momentum * velocity + learnt
        weights = in_random_groups(stepped, swarm.peers // swarm.size, rng)
        velocity = velocity + rule.agreement * (weights - stepped)
        found.append(variance_among_peers(weights))
    return float(np.mean(found[40:]))


def measure_contraction(samples: int) -> list[Figure]:
    """What a round leaves, for many swarms and for several alpha."""
    figures = [
        beside(swarm.row, "left by a round", published=swarm.contraction, ours=contraction(swarm, samples=samples))
        for swarm in CONTRACTING
    ]
    swarm = Swarm(16, 4)
    for alpha in ALPHAS:
        law = contraction_with_alpha(expected_contraction(peers=16, groups=4), alpha)
        ours = contraction(swarm, samples=samples, alpha=alpha)
        figures.append(beside(f"{swarm.row}, alpha {alpha:g}", "left by a round", published=law, ours=ours))
    return figures


def measure_rounds(samples: int) -> list[Figure]:
    """How long it takes: ln(share) / ln(contraction), rounded up."""
    figures = []
    for swarm in (swarm for swarm in CONTRACTING[:8] if swarm.contraction > 0):
        for share in (1e-2, 1e-6):
            law = math.ceil(math.log(share) / math.log(swarm.contraction))
            ours = rounds_to(swarm, share, samples=samples)
            figures.append(beside(swarm.row, f"rounds to {share:g}", published=law, ours=ours))
    return figures


def measure_noloco(samples: int) -> list[Figure]:
    """By how much NoLoCo multiplies disagreement."""
    figures = []
    for swarm in (Swarm(16, 2), Swarm(16, 4)):
        for momentum, learning_rate in NOLOCO:
            law = noloco_radius(momentum, learning_rate, swarm.contraction)
            ours = noloco_factor(swarm, momentum, learning_rate, samples=samples)
            figures.append(
                beside(
                    f"momentum {momentum:g}, learning rate {learning_rate:g}",
                    f"k = {swarm.size}",
                    published=law,
                    ours=ours,
                )
            )
    return figures


def measure_settling(samples: int) -> list[Figure]:
    """Where disagreement settles, in units of the squared disagreement of the noise."""
    figures = []
    for swarm in SETTLING:
        law = steady_disagreement_average(swarm.contraction)
        ours = settled(swarm, StepMixMoments(1.0, 0.0, 0.0), samples=samples)
        figures.append(beside(swarm.row, "averaging", published=law, ours=ours))
        for outer in OUTER_STEPS:
            own = StepMix(outer)
            for agreement in dict.fromkeys((0.0, own.agreement.lasting, own.agreement.lately)):
                rule = own.moments(agreement)
                law, _ = rule.steady(swarm.contraction)
                ours = settled(swarm, rule, samples=samples)
                name = f"a {rule.immediate:.3g}, mu {rule.momentum:g}, p {agreement:.2f}"
                figures.append(beside(swarm.row, name, published=law, ours=ours))
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--samples", type=whole_number(10), default=SAMPLES, metavar="N", help=f"per mean ({SAMPLES})")
    given = own.parse_args(arguments)
    figures: list[Figure] = []
    for title, measure, digits in (
        ("What a round of random groups leaves of the variance", measure_contraction, 3),
        ("Rounds of random groups", measure_rounds, 0),
        ("NoLoCo, N = 16: what a round makes of squared disagreement", measure_noloco, 3),
        ("Where squared disagreement settles", measure_settling, 3),
    ):
        found = measure(given.samples)
        show_figures(title, found, digits=digits, published="law")
        figures += found
    show_notes(NOTES)
    write_figures(given.json, benchmark="contraction_laws", figures=figures)


if __name__ == "__main__":
    main()
