"""The same configuration in the laboratory and on real peers: does what the laboratory shows hold for the wire?

    python -m benchmarks.real_peers text --data-dir ~/data

Real peers are separate `gossip train` processes on this computer, which begin together. Both sides have the same task,
steps, batch, strategy, group size and number of inner steps between rounds, and the same seeds; what differs is the
order of the data, the moment at which an average arrives, and everything that a network does. The table shows the
held-out loss of the peers, each by itself just before a round, mean over the peers, with the spread over the seeds and
the 95 % confidence interval of the difference (Student's t); the last line is the merged model.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev, variance
from typing import Any

from benchmarks.measure import machine, show_table, whole_number, write_json
from benchmarks.peer_processes import train_together
from benchmarks.strategies import STUDENT_95
from gossiptrain.config import checked
from gossiptrain.simulate.learn import run
from gossiptrain.simulate.learn_settings import LearnSettings

TASKS: dict[str, dict[str, Any]] = {
    "digits": {"batch": 8, "every_steps": 20},
    "text": {"batch": 8, "every_steps": 20, "variant": {"model": "tiny"}},
    "cifar10": {"batch": 16, "every_steps": 20, "variant": {"model": "tiny"}},
}


@dataclass(frozen=True)
class Setting:
    """One configuration, for both sides."""

    task: str
    peers: int
    steps: int
    strategy: str
    data_dir: Path | None

    @property
    def every(self) -> int:
        """Steps between two evaluations: a fifth of the run, and a whole number of rounds."""
        rounds: int = TASKS[self.task]["every_steps"]
        return max(rounds, self.steps // 5 // rounds * rounds)


@dataclass(frozen=True)
class Curve:
    """Held-out losses of one run by step, and at the end that of the merged model."""

    side: str
    seed: int
    losses: dict[int, float]
    merged: float


def in_the_laboratory(setting: Setting, *, seed: int) -> Curve:
    """One run of virtual peers."""
    settings = checked(
        LearnSettings,
        task=setting.task,
        peers=setting.peers,
        steps=setting.steps,
        strategy=setting.strategy,
        group_size=setting.peers,
        evaluate_every=setting.every,
        evaluate_peers=True,
        data_dir=setting.data_dir,
        seed=seed,
        **TASKS[setting.task],
    )
    found = run(settings)
    losses = {record.step: record.mean_peer.loss for record in found.records if record.mean_peer is not None}
    return Curve("laboratory", seed, losses, found.merged.loss)


def on_real_peers(setting: Setting, *, seed: int) -> Curve:
    """One run of processes. Raises RuntimeError where one of them fails."""
    with tempfile.TemporaryDirectory(prefix="gossiptrain-real-") as folder:
        events = train_together(setting.task, flags(setting, seed=seed), peers=setting.peers, folder=Path(folder))
    evaluated = [[event for event in own if event["event"] == "eval"] for own in events]
    losses: dict[int, list[float]] = {}
    for event in (event for own in evaluated for event in own if event["of"] == "peer"):
        losses.setdefault(event["step"], []).append(event["loss"])
    merged = [event["loss"] for own in evaluated for event in own if event["of"] == "merged"]
    return Curve("real peers", seed, {step: fmean(found) for step, found in sorted(losses.items())}, fmean(merged))


def flags(setting: Setting, *, seed: int) -> list[str]:
    """What each of the processes is told."""
    given = TASKS[setting.task]
    found = ["--strategy", setting.strategy, "--max-steps", str(setting.steps), "--batch", str(given["batch"])]
    found += ["--seed", str(seed), "--every-steps", str(given["every_steps"]), "--threads", "1"]
    found += ["--gossip-group-size", str(setting.peers), "--eval-every", str(setting.every)]
    for name, value in given.get("variant", {}).items():
        found += [f"--{name}", str(value)]
    if setting.data_dir is not None:
        found += ["--data-dir", str(setting.data_dir)]
    return found


def show(setting: Setting, curves: Sequence[Curve]) -> None:
    """Prints both sides beside each other."""
    sides = {side: [curve for curve in curves if curve.side == side] for side in ("laboratory", "real peers")}
    common = sorted(set.intersection(*(set(curve.losses) for curve in curves)))
    rows = [
        _row(f"{step:,}", {side: [curve.losses[step] for curve in own] for side, own in sides.items()})
        for step in common
    ]
    rows.append(_row("merged", {side: [curve.merged for curve in own] for side, own in sides.items()}))
    title = f"{setting.task}: {setting.strategy}, {setting.peers} peers, held-out loss by step"
    show_table(title, ("step", "laboratory", "real peers", "difference"), rows)


def _row(label: str, losses: dict[str, list[float]]) -> list[str]:
    expected = fmean(losses["laboratory"])
    shown = f"{100 * (fmean(losses['real peers']) / expected - 1):+.2f}"
    seeds = len(losses["laboratory"])
    if seeds > 1:
        error = math.sqrt(sum(variance(own) / seeds for own in losses.values()))
        shown += f" ± {100 * STUDENT_95.get(seeds, 2.0) * error / expected:.2f}"
    return [label, *map(_spread, losses.values()), f"{shown} %"]


def _spread(figures: Sequence[float]) -> str:
    return f"{fmean(figures):.4f} ± {stdev(figures) if len(figures) > 1 else 0.0:.4f}"


def main() -> None:
    """Runs both sides, seed by seed, and prints them beside each other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_peers", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--peers", type=whole_number(2, 16), default=4)
    parser.add_argument("--steps", type=whole_number(1), default=400)
    parser.add_argument("--seeds", type=whole_number(1, 20), default=3)
    parser.add_argument("--strategy", default="step-mix")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    setting = Setting(given.task, given.peers, given.steps, given.strategy, given.data_dir)
    measured_on = machine()
    curves = []
    for seed in range(given.seeds):
        curves.append(in_the_laboratory(setting, seed=seed))
        curves.append(on_real_peers(setting, seed=seed))
    show(setting, curves)
    if given.json:
        write_json(given.json, benchmark="real_peers", measured_on=measured_on, results=curves)


if __name__ == "__main__":
    main()
