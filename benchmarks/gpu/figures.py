"""What the parts of `benchmarks.gpu` have in common: figures, how a part tells them, and the device that it is given.

Owns the line of JSON by which a part hands its figures over, each at once, so that what was measured outlives a part
that is cut off. Measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import torch

FIGURE = "FIGURE "
"""What stands in front of a figure on a line of the standard output; all other lines are for people."""


@dataclass(frozen=True)
class Figure:
    """One line of the table. holds: whether it is as it has to be; None where nothing is asked of it."""

    what: str
    value: float
    unit: str
    holds: bool | None = None


@dataclass(frozen=True)
class Place:
    """What a part is given. is_small: to see within seconds that it runs, not to learn anything."""

    device: torch.device
    is_small: bool


def tell(figure: Figure) -> None:
    """Hands it over."""
    sys.stdout.write(f"{FIGURE}{json.dumps(asdict(figure))}\n")
    sys.stdout.flush()


def figures_in(lines: Iterable[str]) -> list[Figure]:
    """What a part has told."""
    return [Figure(**json.loads(line.removeprefix(FIGURE))) for line in lines if line.startswith(FIGURE)]


def run_part(measure: Callable[[Place], Iterable[Figure]], arguments: Sequence[str] | None = None) -> int:
    """The command line of a part: tells each figure as soon as there is one; 1 where one does not hold."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="in a few seconds, to see that it runs")
    given = parser.parse_args(arguments)
    all_hold = True
    for figure in measure(Place(torch.device(given.device), given.small)):
        tell(figure)
        all_hold = all_hold and figure.holds is not False
    return 0 if all_hold else 1


def wait_for_device(device: torch.device) -> None:
    """Until it has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
