"""What is made of a soak: its figures, what was promised, and the table.

Owns the limits that are promised. Does not know how a run comes about.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from benchmarks.measure import Summary, show_table, summary
from benchmarks.soak.course import Soak
from benchmarks.soak.faults import BETWEEN_HOSTS
from benchmarks.soak.peer import SoakPeer
from gossiptrain import events
from gossiptrain.errors import CheckpointError
from gossiptrain.training.runs.checkpoints import load_checkpoint
from gossiptrain.training.runs.merging import merge
from gossiptrain.training.tasks import task_named

LONGEST_GAP_S = 30.0
MEDIAN_RECOVERY_S = 15.0
LOSS_ABOVE = 0.02
"""By what share the loss may be above that of the undisturbed run with as many samples."""


@dataclass(frozen=True)
class Findings:
    """The figures of one run. loss, accuracy: of the merged model on the test set. recovery_s: of resumed peers, from
    the start of the process to the first committed round. broken: what was promised and did not hold, in words."""

    peers: int
    minutes: float
    faults: dict[str, int]
    rounds: int
    rounds_per_minute: float
    longest_gap_s: float
    recovery_s: Summary | None
    samples: int
    loss: float | None
    accuracy: float | None
    disagreement: float | None
    left: list[str]
    broken: list[str]


def findings(run: Soak) -> Findings:
    """Of a run that is over."""
    peers = run.swarm.peers
    times = _rounds(run)
    edges = [run.began_s, *sorted(at for at in times.values() if run.began_s <= at <= run.ended_s), run.ended_s]
    gap_s = max(after - before for before, after in pairwise(edges))
    recoveries_s = [
        first_s - life.started_s
        for peer in peers
        for life in peer.lives
        if life.is_resumed and (first_s := life.first_round_s()) is not None
    ]
    minutes = (run.ended_s - run.began_s) / 60.0
    broken = list(run.broken)
    loss, accuracy, disagreement = _merged(peers, broken)
    found = Findings(
        peers=len(peers),
        minutes=round(minutes, 2),
        faults=dict(run.faults),
        rounds=len(times),
        rounds_per_minute=round((len(edges) - 2) / minutes, 1),
        longest_gap_s=round(gap_s, 2),
        recovery_s=summary(recoveries_s) if recoveries_s else None,
        samples=run.samples,
        loss=loss,
        accuracy=accuracy,
        disagreement=disagreement,
        left=run.left,
        broken=broken,
    )
    _judge(found)
    return found


def _rounds(run: Soak) -> dict[tuple[int, tuple[str, ...]], float]:
    """When each committed round was told first."""
    first: dict[tuple[int, tuple[str, ...]], float] = {}
    for peer in run.swarm.everyone:
        for life in peer.lives:
            for event in life.process.find(events.RoundCommitted):
                key = (event.round, tuple(sorted(event.members)))
                first[key] = min(event.time, first.get(key, event.time))
    return first


def _merged(peers: list[SoakPeer], broken: list[str]) -> tuple[float | None, float | None, float | None]:
    """Loss, accuracy and disagreement of the peers' last checkpoints."""
    try:
        checkpoints = [load_checkpoint(peer.folder) for peer in peers]
    except CheckpointError as error:
        broken.append(f"no model at the end: {error.what}")
        return None, None, None
    task = task_named("digits", data_dir=None)
    model = task.build_model(seed=0)
    merged = merge([checkpoint.model_state() for checkpoint in checkpoints])
    model.load_state_dict(merged.state)
    device = next(model.parameters()).device
    found = task.open_evaluation(data_dir=None, device=device).evaluate(model)
    return found.loss, found.accuracy, merged.disagreement


def _judge(found: Findings) -> None:
    if found.longest_gap_s > LONGEST_GAP_S:
        found.broken.append(f"no round was committed for {found.longest_gap_s:.1f} s")
    # Who is resumed while the network is disturbed waits for that, too.
    disturbed = set(found.faults) & set(BETWEEN_HOSTS)
    if found.recovery_s is not None and not disturbed and found.recovery_s.median > MEDIAN_RECOVERY_S:
        found.broken.append(f"half of the resumed peers needed more than {found.recovery_s.median:.1f} s")


def loss_beside(disturbed: Findings, undisturbed: Findings) -> float | None:
    """By what share the disturbed loss is above the other one; more than promised is noted as broken."""
    if disturbed.loss is None or undisturbed.loss is None:
        return None
    above = disturbed.loss / undisturbed.loss - 1.0
    if above > LOSS_ABOVE:
        disturbed.broken.append(f"the loss is {above:.1%} above that of the undisturbed run")
    return above


def show(runs: dict[str, Findings], above: float | None) -> None:
    """Prints one column for each run, and then what was broken."""
    rows = [
        ["peers", *(str(found.peers) for found in runs.values())],
        ["minutes", *(f"{found.minutes:.1f}" for found in runs.values())],
        ["faults", *(_counted(found.faults) for found in runs.values())],
        ["committed rounds a minute", *(f"{found.rounds_per_minute:.1f}" for found in runs.values())],
        ["longest gap between rounds, s", *(f"{found.longest_gap_s:.1f}" for found in runs.values())],
        ["resumed peers", *(str(found.recovery_s.samples if found.recovery_s else 0) for found in runs.values())],
        ["back in a round after, s: median, longest", *(_recovery(found) for found in runs.values())],
        ["samples", *(f"{found.samples:,}" for found in runs.values())],
        ["loss of the merged model", *(_figure(found.loss) for found in runs.values())],
        ["accuracy", *("-" if found.accuracy is None else f"{found.accuracy:.2%}" for found in runs.values())],
        ["disagreement at the end", *(_figure(found.disagreement) for found in runs.values())],
        ["left behind", *(str(len(found.left)) for found in runs.values())],
        ["promises broken", *(str(len(found.broken)) for found in runs.values())],
    ]
    show_table("real peers, soaked in faults", ["", *runs], rows)
    if above is not None:
        print(f"the loss is {above:+.2%} beside the undisturbed run; {LOSS_ABOVE:.0%} above is allowed")
    for name, found in runs.items():
        for text in found.broken:
            print(f"BROKEN, {name}: {text}")


def _counted(faults: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())) or "none"


def _recovery(found: Findings) -> str:
    return f"{found.recovery_s.median:.1f}, {found.recovery_s.maximum:.1f}" if found.recovery_s else "-"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
