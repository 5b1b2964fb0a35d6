"""The same configuration in the laboratory and on real peers: does what the laboratory shows hold for the wire?

    python -m benchmarks.real_peers text --data-dir ~/data

Real peers are separate `gossip train` processes on this computer, which begin together. Both sides have the same task,
steps, batch, strategy, group size and number of inner steps between rounds, and the same seeds; what differs is the
order of the data, the moment at which an average arrives, and everything that a network does. The table shows the
held-out loss over the steps, mean over the peers, with the spread over the seeds; the last line is the merged model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.measure import machine, show_table, whole_number, write_json
from gossiptrain.config import checked
from gossiptrain.simulate.learn import run
from gossiptrain.simulate.learn_settings import LearnSettings

GOSSIP = [str(Path(sys.executable).parent / "gossip")]
TASKS: dict[str, dict[str, Any]] = {
    "digits": {"batch": 8, "every_steps": 20},
    "text": {"batch": 8, "every_steps": 20, "variant": {"model": "tiny"}},
    "cifar10": {"batch": 16, "every_steps": 20},
}
START_S = 60.0
WHOLE_RUN_S = 1800.0


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
        data_dir=setting.data_dir,
        seed=seed,
        **TASKS[setting.task],
    )
    found = run(settings)
    losses = {record.step: record.merged.loss for record in found.records if record.merged is not None}
    return Curve("laboratory", seed, losses, found.merged.loss)


def on_real_peers(setting: Setting, *, seed: int) -> Curve:
    """One run of processes. Raises RuntimeError where one of them fails."""
    with tempfile.TemporaryDirectory(prefix="gossiptrain-real-") as folder, _started() as processes:
        first = _start(setting, Path(folder) / "1", seed=seed, initial_peer=None)
        processes.append(first)
        address = _address(Path(folder) / "1" / "metrics.jsonl", first)
        for number in range(2, setting.peers + 1):
            processes.append(_start(setting, Path(folder) / str(number), seed=seed, initial_peer=address))
        for process in processes:
            if process.wait(WHOLE_RUN_S):
                raise RuntimeError(f"a peer ended with {process.returncode}")
        events = [_events(Path(folder) / str(number) / "metrics.jsonl") for number in range(1, setting.peers + 1)]
    evaluated = [[event for event in own if event["event"] == "eval"] for own in events]
    losses: dict[int, list[float]] = {}
    for event in (event for own in evaluated for event in own if event["of"] == "peer"):
        losses.setdefault(event["step"], []).append(event["loss"])
    merged = [event["loss"] for own in evaluated for event in own if event["of"] == "merged"]
    return Curve("real peers", seed, {step: fmean(found) for step, found in sorted(losses.items())}, fmean(merged))


@contextmanager
def _started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended, by their ids, however the block ends."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(setting: Setting, out: Path, *, seed: int, initial_peer: str | None) -> subprocess.Popen[bytes]:
    given = TASKS[setting.task]
    command = [*GOSSIP, "train", setting.task, "--strategy", setting.strategy, "--out", str(out)]
    command += ["--max-steps", str(setting.steps), "--batch", str(given["batch"]), "--seed", str(seed)]
    command += ["--every-steps", str(given["every_steps"]), "--gossip-group-size", str(setting.peers)]
    command += ["--wait-for", str(setting.peers), "--share", f"{out.name}/{setting.peers}", "--threads", "1"]
    command += ["--eval-every", str(setting.every), "--host-maddr", "/ip4/127.0.0.1/tcp/0", "--log-format", "plain"]
    for name, value in given.get("variant", {}).items():
        command += [f"--{name}", str(value)]
    if setting.data_dir is not None:
        command += ["--data-dir", str(setting.data_dir)]
    if initial_peer is not None:
        command += ["--initial-peer", initial_peer]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _address(metrics: Path, process: subprocess.Popen[bytes]) -> str:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        for event in _events(metrics):
            if event["event"] == "started":
                return str(event["addresses"][0])
        time.sleep(0.05)
    raise RuntimeError("the first peer did not start")


def _events(metrics: Path) -> list[dict[str, Any]]:
    if not metrics.exists():
        return []
    return [json.loads(line) for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]


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
    difference = fmean(losses["real peers"]) / fmean(losses["laboratory"]) - 1
    return [label, *map(_spread, losses.values()), f"{100 * difference:+.2f} %"]


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
