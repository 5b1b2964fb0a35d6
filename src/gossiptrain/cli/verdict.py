"""What a demonstration swarm has to show, and whether it did.

Owns the measured outcome, the conditions it is judged by, its words and its report. Pure: does not know processes,
models or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gossiptrain.monitor.words import counted, data_size, percent

LEAST_ACCURACY = 0.95
LEAST_GAIN = 0.01
"""By so much, in accuracy, together has to beat alone: one percentage point is eight of the 810 test images. What two
runs of one trainer differ by is about half of that."""
MOST_DISAGREEMENT = 0.01


@dataclass(frozen=True, kw_only=True)
class PeerOutcome:
    """One peer that was not killed. Accuracies are of the test set, 0 to 1; None where there is nothing to measure."""

    label: str
    share: str
    steps: int
    """Inner steps it made itself."""
    together: float | None
    """Of its own final model."""
    alone: float | None
    """Of the same trainer on the same share for as many steps, without gossip."""
    bytes_sent: int
    failure: str = ""
    """Why it did not end as it should; empty where it did."""


@dataclass(frozen=True, kw_only=True)
class SwarmOutcome:
    """What became of the swarm. seconds: how long all trained together. merged: accuracy of the mean of all models."""

    peers: Sequence[PeerOutcome]
    killed: int
    rounds: int
    seconds: float
    merged: float | None
    disagreement: float | None
    asked_to_stop: bool = False
    """Whether a person ended it early."""


def problems_of(outcome: SwarmOutcome) -> list[str]:
    """What the swarm should have done and did not; empty where all is well.

    Killed peers are not held against the others: with their share of the data the promise of a certain accuracy goes
    too, and a peer that is left alone has nobody to be better with.
    """
    problems = [f"peer {peer.label} {peer.failure}" for peer in outcome.peers if peer.failure]
    if not outcome.peers:
        return [*problems, "no peer is left"]
    if outcome.rounds == 0:
        problems.append("no round was committed")
    swarm = not outcome.killed or len(outcome.peers) > 1
    for peer in outcome.peers if swarm else ():
        problems += _problems_of_peer(peer, whole=not outcome.killed)
    if outcome.disagreement is not None and not outcome.disagreement < MOST_DISAGREEMENT:
        problems.append(f"the final models disagree by {percent(outcome.disagreement)}")
    if problems and outcome.asked_to_stop:
        problems.append(f"it was stopped after {outcome.seconds:.1f} s, which may have been too early")
    return problems


def _problems_of_peer(peer: PeerOutcome, *, whole: bool) -> list[str]:
    if peer.failure:
        return []
    if peer.together is None or peer.alone is None:
        return [f"peer {peer.label} could not be measured"]
    problems = []
    if whole and peer.together < LEAST_ACCURACY:
        problems.append(f"peer {peer.label} reached {percent(peer.together)}, less than {percent(LEAST_ACCURACY)}")
    # Differences of accuracies are multiples of one image; rounding must not decide.
    if peer.together - peer.alone < LEAST_GAIN - 1e-9:
        gain = f"{percent(peer.together)} together, {percent(peer.alone)} alone"
        problems.append(f"peer {peer.label} is not clearly better together ({gain})")
    return problems


def success_of(outcome: SwarmOutcome) -> str:
    """The last word on a swarm without problems."""
    if outcome.killed and len(outcome.peers) == 1:
        return "The swarm did what it should: the peer that was left went on and saved its model."
    better = "every peer does better together than alone"
    return f"The swarm did what it should: {better}" + (", whoever was killed." if outcome.killed else ".")


def lines_of(outcome: SwarmOutcome) -> list[str]:
    """The outcome as a small table and the figures of the whole swarm, for a person."""
    rows = [["peer", "share", "own steps", "alone", "together", "gain", "sent"]]
    for peer in outcome.peers:
        gain = "–"
        if peer.alone is not None and peer.together is not None:
            gain = f"{100 * (peer.together - peer.alone):+.1f}"
        measured = [percent(peer.alone), percent(peer.together), gain]
        rows.append([peer.label, peer.share, f"{peer.steps:,}", *measured, data_size(peer.bytes_sent)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["Test accuracy of each peer: alone on its share for as many steps, and together"]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  " + "  ".join(cells))
    lines.append(f"merged model     {percent(outcome.merged)}")
    lines.append(f"disagreement     {percent(outcome.disagreement)} of the parameters' size, at the end")
    killed = f", {counted(outcome.killed, 'peer')} killed" if outcome.killed else ""
    lines.append(f"rounds           {outcome.rounds:,} committed in {outcome.seconds:.1f} s{killed}")
    return lines


def report_of(outcome: SwarmOutcome) -> dict[str, object]:
    """The outcome for `--report`; the lists are in the order of the peers. What could not be measured is null."""
    return {
        "peers": len(outcome.peers),
        "rounds_committed": outcome.rounds,
        "seconds": round(outcome.seconds, 3),
        "accuracy_alone": [peer.alone for peer in outcome.peers],
        "accuracy_together": [peer.together for peer in outcome.peers],
        "accuracy_merged": outcome.merged,
        "disagreement": _finite(outcome.disagreement),
        "bytes_sent": [peer.bytes_sent for peer in outcome.peers],
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
