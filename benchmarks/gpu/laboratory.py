"""How fast the laboratory trains on the card: peer-steps a second of virtual peers, beside those on the processor.

Owns the choice of tasks and numbers of peers. How virtual peers are timed is in `benchmarks.laboratory`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch

from benchmarks.gpu.figures import Figure, Place, run_part
from benchmarks.laboratory.__main__ import peer_steps_per_s, virtual_peers


def measure(place: Place) -> Iterator[Figure]:
    """All figures."""
    seconds = 0.1 if place.is_small else 3.0
    cells = (("digits", 4),) if place.is_small else (("digits", 8), ("digits", 64), ("cifar10", 8), ("cifar10", 64))
    for task, peers in cells:
        speeds = []
        for device in (torch.device("cpu"), place.device):
            with virtual_peers(task, peers, None, device=device) as made:
                speeds.append(peer_steps_per_s(made, seconds))
            yield Figure(f"{task}, {peers} peers on {device.type}", speeds[-1], "peer-steps a second")
        yield Figure(f"{task}, {peers} peers, {place.device.type} by processor", speeds[1] / speeds[0], "times")


if __name__ == "__main__":
    sys.exit(run_part(measure))
